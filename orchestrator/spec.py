"""A sweep spec as a record: what a person wants to know, before any name in it has been looked up.

Grammar: DESIGN, section 2, and README, "Specs". `read_spec` finds what is wrong with the shape; `plan` finds the
rest and raises everything at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from methods.api import Domain
from orchestrator.recipe_files import RecipeFile, read_recipes
from orchestrator.spec_methods import StackSpec, read_stack
from orchestrator.spec_problems import Place, Problem, SpecError
from orchestrator.spec_schema import BackboneFile, IncludeFile, TuneFile, checked
from orchestrator.spec_yaml import Document, read_yaml
from orchestrator.tuning.outcomes import OBJECTIVES, SCORE

_LARGEST_BYTES = 4_000_000


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone as written; `weights` is a path relative to the spec's folder, or None for the usual weights.

    `mean`, `std`: of red, green and blue from 0 to 1, in place of the checkpoint's; None leaves those.
    """

    name: str
    weights: str | None
    path: Place
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Rule:
    """Where `match` holds: leave out (`exclude`) or set values (`overrides`)."""

    match: Mapping[str, object]
    path: Place
    set: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Zip:
    """Axes that go together: the n-th value of each, by `train.<field>` or `<method>.<parameter>`."""

    axes: Mapping[str, list[object]]
    path: Place


@dataclass(frozen=True)
class Include:
    """Jobs beside the product; None takes the spec's own list."""

    stack: StackSpec
    path: Place
    backbones: tuple[BackboneSpec, ...] | None
    datasets: tuple[str, ...] | None
    seeds: tuple[int, ...] | None


DEFAULT_TRIALS = 30
"""On recorded grids of 60 points the median search with 28 and more loses nothing to the best one (TUNING.md); with 20,
what is common in the field, it does."""


@dataclass(frozen=True)
class Tune:
    """What Optuna may vary, by `<method>.<parameter>` or recipe field, and for how long.

    A study ends at `trials` trials, or when its jobs have taken `hours` of their slots, or `gpu_hours` of GPUs (half a
    GPU for two hours is one); None is no bound. `parallel`
    trials of one study run at a time. `constraint`: (metric, its highest value). `objectives`: validation accuracy, and
    the costs that are made small beside it. `warm_start`: "siblings" where a cell starts from what the search on other
    data sets has found, or "".
    """

    trials: int | None
    space: Mapping[str, Domain]
    sampler: str
    pruner: str
    hours: float | None = None
    parallel: int = 1
    constraint: tuple[str, float] | None = None
    objectives: tuple[str, ...] = (SCORE,)
    warm_start: str = ""
    gpu_hours: float | None = None

    @property
    def has_front(self) -> bool:
        """Several objectives have no best trial, but a set of trials that no other one beats in all of them."""
        return len(self.objectives) > 1

    @property
    def budget(self) -> str:
        """The budget in words, as it stands on the board."""
        bounds = [f"{self.trials} trials"] if self.trials is not None else []
        bounds += [f"{self.hours:g} slot-hours"] if self.hours is not None else []
        bounds += [f"{self.gpu_hours:g} GPU-hours"] if self.gpu_hours is not None else []
        return " or ".join(bounds)


@dataclass(frozen=True)
class Measure:
    """Measure the speed and memory of every row, at this batch size or at the recipe's own."""

    batch_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class SweepSpec:
    """A spec whose shape has been read; `document` has the lines, and the problems found so far.

    `recipe`: the name of the published recipe of all stacks without their own, or ""; `recipes`: all that are named.
    """

    name: str
    source: str
    text: str
    folder: Path
    datasets: tuple[tuple[str, Place], ...]
    backbones: tuple[BackboneSpec, ...]
    stacks: tuple[StackSpec, ...]
    seeds: tuple[int, ...]
    recipe: str
    recipes: Mapping[str, RecipeFile]
    train: Mapping[str, object]
    resources: Mapping[str, float]
    zips: tuple[Zip, ...]
    exclude: tuple[Rule, ...]
    include: tuple[Include, ...]
    overrides: tuple[Rule, ...]
    phase: str
    protocol: str
    also_evaluate: tuple[tuple[str, Place], ...]
    tune: Tune | None
    measure: Measure | None
    max_jobs: int
    document: Document = field(repr=False, compare=False)

    def problem(self, path: Place, text: str) -> Problem:
        """A problem at that place, with its line."""
        return Problem(path, text, self.document.line_of(path))


def read_spec(path: Path) -> SweepSpec:
    """The spec in a file. Raises SpecError when the file cannot be read or has nothing that can be planned."""
    source = path.name
    try:
        raw = path.read_bytes()
    except IsADirectoryError:
        raise SpecError(source, [Problem((), f"{path} is a folder; expected a YAML file in it")]) from None
    except FileNotFoundError:
        raise SpecError(source, [Problem((), f"there is no file {path}")]) from None
    except OSError as error:
        raise SpecError(source, [Problem((), f"{path} cannot be read: {error.strerror}")]) from None
    if len(raw) > _LARGEST_BYTES:
        raise SpecError(source, [Problem((), f"has {len(raw)} bytes; a spec has at most {_LARGEST_BYTES}")])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        wrong = f"byte {raw[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        raise SpecError(source, [Problem((), wrong, line)]) from None
    return parse_spec(text, source, path.resolve().parent)


def parse_spec(text: str, source: str = "spec", folder: Path | None = None) -> SweepSpec:
    """The spec in a text; `folder` is where relative paths in it start. Raises SpecError as `read_spec` does."""
    document = read_yaml(text)
    if document.data is None and not document.problems:
        document.problem((), "is empty; expected name, datasets, backbones and methods (README, Specs)")
    elif not isinstance(document.data, dict) and not document.problems:
        document.problem((), f"is a {type(document.data).__name__}; expected keys: name, datasets, backbones, methods")
    if not isinstance(document.data, dict):
        raise SpecError(source, document.problems)
    file, kept = checked(document.data, document)
    include = [_include(item, ("include", at), document) for at, item in _placed("include", file.include, kept)]
    rules = _placed("overrides", file.overrides, kept)
    stacks = _stacks(document.data.get("methods"), document)
    named = {stack.recipe: stack.recipe_path for stack in (*stacks, *(item.stack for item in include if item))}
    named |= {file.recipe or "": ("recipe",)}
    return SweepSpec(
        name=file.name,
        source=source,
        text=text,
        folder=folder or Path(),
        datasets=tuple((name, ("datasets", at)) for at, name in _placed("datasets", file.datasets, kept)),
        backbones=tuple(_backbone(item, ("backbones", at)) for at, item in _placed("backbones", file.backbones, kept)),
        stacks=stacks,
        seeds=tuple(file.seeds),
        recipe=file.recipe or "",
        recipes=read_recipes({name: place for name, place in named.items() if name}, folder or Path(), document),
        train=file.train,
        resources=file.resources.model_dump(exclude_none=True),
        zips=tuple(Zip(axes, ("zip", at)) for at, axes in _placed("zip", file.zip, kept)),
        exclude=tuple(Rule(match, ("exclude", at)) for at, match in _placed("exclude", file.exclude, kept)),
        include=tuple(item for item in include if item is not None),
        overrides=tuple(Rule(rule.match, ("overrides", at), rule.set) for at, rule in rules),
        phase=file.phase,
        protocol=file.protocol,
        also_evaluate=tuple((name, ("also_evaluate", at)) for at, name in _also(file.also_evaluate, kept)),
        tune=None if file.tune is None else _tune(file.tune, document),
        measure=None if file.measure is None else Measure(file.measure.batch_size),
        max_jobs=file.max_jobs,
        document=document,
    )


def _tune(item: TuneFile, document: Document) -> Tune:
    is_open = item.trials is None and item.hours is None and item.gpu_hours is None
    trials = DEFAULT_TRIALS if is_open else item.trials
    pruner = item.pruner
    objectives = tuple(name for name in OBJECTIVES if name in item.objectives)  # their order decides nothing
    if len(objectives) > 1 and pruner != "none":
        if "pruner" in item.model_fields_set:
            text = f"is {pruner!r}; with several objectives a curve of accuracy does not say which trial is worse: "
            document.problem(("tune", "pruner"), text + "leave it out")
        pruner = "none"
    bounds = (item.hours, item.parallel, item.constraint)
    return Tune(trials, item.space, item.sampler, pruner, *bounds, objectives, item.warm_start or "", item.gpu_hours)


def _placed(key: str, items: list[Any], kept: Mapping[str, list[int]]) -> list[tuple[int, Any]]:
    """The elements of a list with their positions in the file."""
    return list(zip(kept.get(key, []), items, strict=False))


def _also(names: list[str], kept: Mapping[str, list[int]]) -> list[tuple[int, str]]:
    """A single name may stand without brackets."""
    return list(zip(kept.get("also_evaluate", [0]), names, strict=False))


def _stacks(methods: object, document: Document) -> tuple[StackSpec, ...]:
    found = [read_stack(value, ("methods", at), document) for at, value in enumerate(_as_list(methods))]
    return tuple(stack for stack in found if stack is not None)


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _backbone(item: BackboneFile, path: Place) -> BackboneSpec:
    return BackboneSpec(item.name, item.weights, path, item.mean, item.std)


def _include(item: IncludeFile, path: Place, document: Document) -> Include | None:
    stack = read_stack(item.method, (*path, "method"), document)
    if stack is None:
        return None
    backbones = None
    if item.backbone is not None:
        backbones = tuple(_backbone(one, (*path, "backbone")) for one in item.backbone)
    return Include(
        stack=stack,
        path=path,
        backbones=backbones,
        datasets=None if item.dataset is None else tuple(item.dataset),
        seeds=None if item.seed is None else tuple(item.seed),
    )
