"""Rules: where `exclude` and `overrides` match, decided axis by axis, so that a rule costs nothing per job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from methods.facts import Value
from methods.params import resolve_params
from orchestrator.plan_variants import Variant
from orchestrator.recipes import is_recipe_field, recipe_facts, recipe_value
from orchestrator.resolve import Backbone, Lookup
from orchestrator.spec import Rule
from orchestrator.spec_problems import Place, named
from storage.records import DatasetRef

_RESOURCES = ("cpus", "gpus", "memory_gib")
_AXES = {"method", "backbone", "dataset", "seed"}


@dataclass(frozen=True)
class Block:
    """A product: the spec's own, or that of one `include`. `rows` names the variants, one by one."""

    path: Place
    variants: tuple[Variant, ...]
    rows: tuple[str, ...]
    backbones: tuple[Backbone, ...]
    datasets: tuple[DatasetRef, ...]
    seeds: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.variants) * len(self.backbones) * len(self.datasets) * len(self.seeds)


@dataclass(frozen=True)
class Mask:
    """Where a rule matches in a block: at those points whose every part is in these positions."""

    variants: frozenset[int]
    backbones: frozenset[int]
    datasets: frozenset[int]
    seeds: frozenset[int]

    @property
    def size(self) -> int:
        return len(self.variants) * len(self.backbones) * len(self.datasets) * len(self.seeds)

    def holds(self, variant: int, backbone: int, dataset: int) -> bool:
        return variant in self.variants and backbone in self.backbones and dataset in self.datasets


def mask(lookup: Lookup, rule: Rule, block: Block) -> Mask:
    """Where the rule matches, judged by the spec's own values: no override changes what another rule sees."""
    variants = set(range(len(block.variants)))
    backbones, datasets, seeds = (set(range(len(part))) for part in (block.backbones, block.datasets, block.seeds))
    for key, wanted in rule.match.items():
        if key == "backbone":
            backbones &= {at for at, one in enumerate(block.backbones) if _matches(wanted, one.ref.name)}
        elif key == "dataset":
            names = _datasets(lookup, wanted, (*rule.path, "match", key))
            datasets &= {at for at, one in enumerate(block.datasets) if _matches(names, one.name)}
        elif key == "seed":
            seeds &= {at for at, seed in enumerate(block.seeds) if _matches(wanted, seed)}
        elif key == "method":
            variants &= {at for at, variant in enumerate(block.variants) if _is_named(wanted, variant, block.rows[at])}
        else:
            variants &= {at for at, variant in enumerate(block.variants) if _has(variant, key, wanted)}
    return Mask(frozenset(variants), frozenset(backbones), frozenset(datasets), frozenset(seeds))


def check_match(lookup: Lookup, rule: Rule, known: Sequence[Variant]) -> None:
    """Note keys that no stack of the spec could ever have."""
    params = {f"{facts.name}.{field.name}" for variant in known for facts in variant.methods for field in facts.fields}
    train = {f"train.{field.name}" for field in recipe_facts().fields}
    short = {name.rpartition(".")[2] for name in params | train}
    for key in rule.match:
        if key not in _AXES | params | train | short and not lookup.is_left_out(key.rpartition(".")[0]):
            place = (*rule.path, "match", key) if rule.set else (*rule.path, key)
            lookup.problem(place, named("key to match", key, _AXES | short))


def aims_at_left_out(lookup: Lookup, rule: Rule) -> bool:
    """Whether the rule is for stacks that are left out, so that it may match nothing else."""
    wanted = rule.match.get("method")
    owners = {key.rpartition(".")[0] for key in (*rule.match, *rule.set)}
    return any(
        member in owners or (wanted is not None and _matches(wanted, member))
        for one in lookup.left_out.values()
        for member in (one.stack.name, one.stack.label, *(member.name for member in one.stack.members))
        if member
    )


def changes(lookup: Lookup, rule: Rule, known: Sequence[Variant]) -> list[tuple[str, str, Value]]:
    """What an override sets: (method name, "train" or "resources"; field; value). Wrong ones are noted."""
    methods = {facts.name: facts for variant in known for facts in variant.methods}
    found: list[tuple[str, str, Value]] = []
    for key, value in rule.set.items():
        place = (*rule.path, "set", key)
        owner, _, name = key.rpartition(".")
        wrong: str | None = None
        typed: Value = None
        if owner == "train":
            typed, wrong = recipe_value(name, value)
        elif owner == "resources":
            typed, wrong = _resource(name, value)
        elif owner in methods:
            params, problems = resolve_params(methods[owner], {name: value})
            typed = dict(params).get(name)
            wrong = problems[0][1] if problems else None
        elif lookup.is_left_out(owner):
            continue
        else:
            owners = ["train", "resources", *methods]
            text = "starts with no method of this spec" if owner else "has no owner"
            wrong = f"{text}; expected <owner>.<field> with an owner among {', '.join(owners)}, e.g. train.{name}"
        if wrong:
            lookup.problem(place, wrong)
        else:
            found.append((owner, name, typed))
    return found


def _resource(name: str, value: object) -> tuple[Value, str | None]:
    if name not in _RESOURCES:
        return None, named("resource", name, _RESOURCES)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        return None, f"is {value!r}; expected a number, 0 or more"
    if name == "gpus" and value > 1 and value != int(value):
        return None, f"is {value:g}; a job takes part of one GPU (up to 1) or whole GPUs"
    return float(value), None


def _datasets(lookup: Lookup, wanted: object, path: Place) -> list[object]:
    """The wanted names with `@suite/group` written out."""
    names: list[object] = []
    for item in wanted if isinstance(wanted, list) else [wanted]:
        names += lookup.names(item, path) if isinstance(item, str) and item.startswith("@") else [item]
    return names


def _is_named(wanted: object, variant: Variant, row: str) -> bool:
    """By the stack (`lora+pyra`), by one of its members, by its label or by the whole row."""
    names = {variant.stack.name, variant.stack.label, row, *(facts.name for facts in variant.methods)}
    return any(_matches(wanted, name) for name in names if name)


def _has(variant: Variant, key: str, wanted: object) -> bool:
    """`<method>.<parameter>`, `train.<field>`, or either without its owner."""
    owner, _, name = key.rpartition(".")
    if owner in ("train", "") and is_recipe_field(name) and _matches(wanted, getattr(variant.recipe, name)):
        return True
    return any(
        _matches(wanted, value)
        for facts, params in zip(variant.methods, variant.params, strict=True)
        for field, value in params
        if field == name and owner in ("", facts.name)
    )


def _matches(wanted: object, value: Value) -> bool:
    """Equal, matched by a glob, or any of a list; a list-typed value is compared whole."""
    if isinstance(value, tuple):
        return isinstance(wanted, list) and (tuple(wanted) == value or any(item == list(value) for item in wanted))
    if isinstance(wanted, list):
        return any(_matches(item, value) for item in wanted)
    if isinstance(wanted, str) and isinstance(value, str):
        return fnmatchcase(value, wanted)
    return wanted == value and (type(wanted) is type(value) or (_is_number(wanted) and _is_number(value)))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
