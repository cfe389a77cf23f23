"""The shape of a spec file, checked by pydantic; names (methods, data sets, backbones) are checked by the plan."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from methods.api import Domain
from methods.params import did_you_mean
from orchestrator.spec_problems import located, named, without
from orchestrator.spec_yaml import Document
from orchestrator.tuning.outcomes import OBJECTIVES, SCORE, SCORES

MAX_JOBS = 100_000
_MOST_SEEDS = 100_000
CONSTRAINED = ("macs", "trainable_params")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


def _wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("wrong", "{text}", {"text": text})


def _listed(value: object) -> object:
    return value if isinstance(value, list) or value is None else [value]


def _counted(value: object) -> object:
    """`seeds: 3` means 0, 1, 2."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= _MOST_SEEDS:
            raise _wrong(f"is {value}; expected a number of seeds (1 to {_MOST_SEEDS}) or a list of seeds")
        return list(range(value))
    if not isinstance(value, list):
        raise _wrong(f"is {value!r}; expected a number (3 means 0, 1, 2) or a list such as [0, 1, 2]")
    return value


def _distinct(values: list[Any]) -> list[Any]:
    seen = [value for position, value in enumerate(values) if value in values[:position]] if len(values) < 1000 else []
    if seen:
        raise _wrong(f"has {seen[0]!r} twice; keep one")
    return values


def _whole_above_one(gpus: float) -> float:
    if gpus > 1 and gpus != int(gpus):
        raise _wrong(f"is {gpus:g}; a job takes part of one GPU (up to 1) or whole GPUs")
    return gpus


def _mean(value: object) -> tuple[float, ...]:
    return _channels(value, 0.0, "[0.485, 0.456, 0.406]")


def _std(value: object) -> tuple[float, ...]:
    return _channels(value, 1e-6, "[0.229, 0.224, 0.225]")


def _channels(value: object, least: float, example: str) -> tuple[float, ...]:
    """Red, green and blue, of pixels from 0 to 1."""
    numbers = (
        [one for one in value if isinstance(one, int | float) and one is not True] if isinstance(value, list) else []
    )
    if len(numbers) != 3 or numbers != value or not all(least <= one <= 1 for one in numbers):
        raise _wrong(f"is {value!r}; expected red, green and blue of pixels from 0 to 1, such as {example}")
    return tuple(float(one) for one in numbers)


class BackboneFile(_Part):
    """`vit_tiny_patch16_224`, or `{name: …, weights: ./file.safetensors}`; `mean`, `std` override the checkpoint's."""

    name: str = Field(min_length=1)
    weights: str | None = None
    mean: Annotated[tuple[float, float, float] | None, BeforeValidator(_mean)] = None
    std: Annotated[tuple[float, float, float] | None, BeforeValidator(_std)] = None

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value


class ResourcesFile(_Part):
    """What one job asks of a slot; no part of the job's identity."""

    gpus: Annotated[float, Field(ge=0, le=1024), AfterValidator(_whole_above_one)] = 0.0
    cpus: Annotated[float, Field(gt=0, le=4096)] = 1.0
    memory_gib: Annotated[float | None, Field(gt=0, le=65_536)] = None  # None: as measured


class OverrideFile(_Part):
    """Where `match` holds, `set` replaces; the last match wins."""

    match: dict[str, Any]
    set: dict[str, Any] = Field(min_length=1)


_Seed = Annotated[int, Field(ge=0, lt=2**32)]


class IncludeFile(_Part):
    """Jobs beside the product; what is left out is taken from the spec's own lists."""

    method: Any
    backbone: Annotated[list[BackboneFile] | None, BeforeValidator(_listed)] = None
    dataset: Annotated[list[str] | None, BeforeValidator(_listed)] = None
    seed: Annotated[list[_Seed] | None, BeforeValidator(_listed)] = None


def _domain(value: object) -> Domain:
    """`{log: [1e-4, 1e-2]}`, `{uniform: [0, 1]}`, `{int: [1, 15]}` or `{choice: [a, b]}`."""
    form = "expected {log: [low, high]}, {uniform: [low, high]}, {int: [low, high]} or {choice: [a, b, …]}"
    if not isinstance(value, dict) or len(value) != 1:
        raise _wrong(f"is {value!r}; {form}")
    ((kind, values),) = value.items()
    if kind not in ("log", "uniform", "int", "choice") or not isinstance(values, list):
        raise _wrong(f"is {value!r}; {form}")
    if not values or any(isinstance(item, list | dict) for item in values):
        raise _wrong(f"is {value!r}; the values are plain numbers or words, at least one")
    if kind == "choice":
        _distinct([item for item in values if isinstance(item, bool)])  # apart: to Python, true is 1
        _distinct([item for item in values if not isinstance(item, bool)])
    else:
        kinds = int if kind == "int" else (int, float)
        numbers = [item for item in values if isinstance(item, kinds) and not isinstance(item, bool)]
        if len(values) != 2 or len(numbers) != 2 or not numbers[0] < numbers[1]:
            raise _wrong(f"is {value!r}; expected two {'whole ' if kind == 'int' else ''}numbers, the lower one first")
        if kind == "log" and numbers[0] <= 0:
            raise _wrong(f"is {value!r}; a log domain starts above 0")
    return Domain(kind, tuple(values))


def _constraint(value: object) -> tuple[str, float] | None:
    """`macs <= 0.5`: a metric of the trained model and its highest value."""
    if value is None:
        return None
    metric, sign, bound = str(value).partition("<=")
    try:
        number = float(bound)
    except ValueError:
        number = 0.0
    if metric.strip() not in CONSTRAINED or not sign or not 0 < number < float("inf"):
        raise _wrong(
            f"is {value!r}; expected `macs <= 0.5` (up to 1: parts of the backbone's own MACs; above: MACs) or "
            "`trainable_params <= 100000`"
        )
    return metric.strip(), number


def _objectives(names: list[str]) -> list[str]:
    names = [SCORE if name in SCORES else name for name in names]  # on masks it is Dice that is meant
    for name in names:
        if name not in OBJECTIVES:
            raise _wrong(f"has {named('objective', name, OBJECTIVES)}")
    if SCORE not in names:
        raise _wrong(f"is {names!r}; {SCORE} is one of the objectives, costs stand beside it: [{SCORE}, macs]")
    return names


class TuneFile(_Part):
    """One Optuna study per cell (stack × backbone × data set); an empty space means the methods' own."""

    trials: Annotated[int | None, Field(ge=1, le=100_000)] = None  # DEFAULT_TRIALS, where there are no hours either
    hours: Annotated[float | None, Field(gt=0, le=1_000_000)] = None
    gpu_hours: Annotated[float | None, Field(gt=0, le=1_000_000)] = None
    parallel: Annotated[int, Field(ge=1, le=100)] = 1
    constraint: Annotated[Any, BeforeValidator(_constraint)] = None
    objectives: Annotated[
        list[str], BeforeValidator(_listed), AfterValidator(_objectives), AfterValidator(_distinct)
    ] = [SCORE]
    space: dict[str, Annotated[Any, BeforeValidator(_domain)]] = {}
    sampler: Literal["tpe", "random", "grid", "nsga2"] = "tpe"
    pruner: Literal["none", "median", "successive_halving", "hyperband"] = "median"
    warm_start: Literal["siblings"] | None = None


def _search(value: object) -> object:
    if value is None:
        raise _wrong("is empty; write `tune: {}` to search the methods' own spaces, or leave tune out")
    return value


class MeasureFile(_Part):
    """Speed and memory of every row, alone on the device; None takes the recipe's own batch size."""

    batch_size: Annotated[int | None, Field(ge=1, le=65_536)] = None


def _measure(value: object) -> object:
    """`false`, `true` or `{batch_size: N}`."""
    if value is None or isinstance(value, bool):
        return MeasureFile() if value else None
    if isinstance(value, dict):
        return value
    raise _wrong(f"is {value!r}; expected true, false or {{batch_size: N}}")


class SpecFile(_Part):
    """A sweep spec (DESIGN, section 2). Axes multiply: methods × backbones × datasets × lists in `train` × seeds."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    datasets: Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)]
    backbones: Annotated[list[BackboneFile], Field(min_length=1), AfterValidator(_distinct)]
    methods: Annotated[list[Any], Field(min_length=1)]
    seeds: Annotated[list[_Seed], BeforeValidator(_counted), Field(min_length=1), AfterValidator(_distinct)] = [0]
    recipe: str | None = None
    train: dict[str, Any] = {}
    resources: ResourcesFile = ResourcesFile()
    zip: list[Annotated[dict[str, list[Any]], Field(min_length=1)]] = []
    exclude: list[Annotated[dict[str, Any], Field(min_length=1)]] = []
    include: list[IncludeFile] = []
    overrides: list[OverrideFile] = []
    phase: Literal["final", "search"] = "final"
    protocol: Literal["honest", "paper"] = "honest"
    also_evaluate: Annotated[list[str], BeforeValidator(_listed), AfterValidator(_distinct)] = []
    tune: Annotated[TuneFile | None, BeforeValidator(_search)] = None
    measure: Annotated[MeasureFile | None, BeforeValidator(_measure)] = None
    max_jobs: Annotated[int, Field(ge=1, le=10_000_000)] = MAX_JOBS


_PARTS: dict[str, type[_Part]] = {
    "backbones": BackboneFile,
    "backbone": BackboneFile,
    "resources": ResourcesFile,
    "include": IncludeFile,
    "overrides": OverrideFile,
    "tune": TuneFile,
    "measure": MeasureFile,
}
_HINTS = {"label": "belongs inside a method: `lora: {rank: 8, label: my name}`"}


def checked(raw: dict[str, Any], document: Document) -> tuple[SpecFile, dict[str, list[int]]]:
    """The spec's shape, and for every list the file positions of the elements that were kept.

    What is wrong becomes a problem of the document; the rest is kept, so that the plan finds the other problems in
    the same run.
    """
    kept = {key: list(range(len(value))) for key, value in raw.items() if isinstance(value, list)}
    try:
        return SpecFile.model_validate(raw), kept
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=True)
    rest = dict(raw)
    for detail in details:
        location = detail["loc"]
        place = located(location, raw)
        document.problem(place, _text(detail))
        key = str(location[0])
        if key == "tune" and len(place) > 1:
            rest[key] = without(rest[key], place[1:])
        elif len(location) > 1 and isinstance(location[1], int) and key in kept:
            kept[key] = [position for position in kept[key] if position != location[1]]
        else:
            kept[key] = []
            rest.pop(key, None)
    left = {key: [raw[key][position] for position in kept[key]] for key in kept if key in rest}
    rest = {key: left.get(key, value) for key, value in rest.items() if left.get(key, value) != []}
    for key, anything in {"name": "unnamed", "datasets": ["-"], "backbones": ["-"], "methods": ["-"]}.items():
        rest.setdefault(key, anything)  # never planned: the position list is empty and the problem noted
    return SpecFile.model_validate(rest), kept


def _text(detail: ErrorDetails) -> str:
    kind, value, location = detail["type"], detail["input"], detail["loc"]
    if kind == "extra_forbidden":
        parts = [_PARTS[part] for part in location[:-1] if part in _PARTS]
        known = (parts[-1] if parts else SpecFile).model_fields
        return _HINTS.get(str(location[-1])) or named("key", str(location[-1]), known)
    if kind in _TEXTS:
        return _TEXTS[kind] or str(detail["msg"])
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:60]}…"
    if kind == "literal_error":
        expected = str(detail["ctx"]["expected"])
        near = did_you_mean(str(value), re.findall(r"'([^']+)'", expected))
        return f"is {shown}; expected {expected}" + (f".{near}" if near else "")
    if kind in _EXPECTED:
        return f"is {shown}; expected {_EXPECTED[kind]}"
    return f"is {shown}; {detail['msg'][0].lower()}{detail['msg'][1:]}"


_TEXTS = {"missing": "is missing", "too_short": "is empty; expected at least one", "wrong": ""}
_EXPECTED = {
    "list_type": "a list, written [a, b]",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "dict_type": "keys with values, written {key: value}",
    "model_type": "a name, or keys with values",
    "string_pattern_mismatch": "letters, digits, '.', '_' and '-' (100 at most)",
}
