"""What the board calls a variant: its label or stack, and the values that tell rows of one name apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from methods.facts import Value
from orchestrator.plan_axes import TRAIN, Target
from orchestrator.plan_variants import Variant
from orchestrator.resolve import Lookup
from orchestrator.spec_methods import OFF_THE_SHELF
from orchestrator.spec_problems import path_text


def row_names(lookup: Lookup, variants: Sequence[Variant]) -> list[str]:
    """One name per variant, e.g. `gps(connections_per_neuron=3)`, `lora+pyra(merge_rate=low)`, `full lr=0.001`.

    A value is shown when the spec gives it somewhere and variants of the same stack or label differ in it; so is the
    name of a published recipe, e.g. `gps recipe=gps-release`. Two
    different variants with one name (a label used twice) are a problem: their scores would be averaged.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for at, variant in enumerate(variants):
        groups[variant.stack.label or variant.stack.name].append(at)
    names = [""] * len(variants)
    for name, members in groups.items():
        shown = _telling([variants[at] for at in members])
        has_recipes = len({variants[at].published for at in members}) > 1
        for at in members:
            published = variants[at].published if has_recipes else None
            names[at] = _name(name, variants[at], shown) + (f" recipe={published.name}" if published else "")
    first: dict[str, Variant] = {}
    for name, variant in zip(names, variants, strict=True):
        other = first.setdefault(name, variant)
        if _content(other) != _content(variant):
            text = f"comes out as row {name!r}, as {path_text(other.stack.path)} does; give one of them a `label`"
            lookup.problem(variant.stack.path, text)
    return names


def row_of(variant: Variant) -> str:
    """The name of a variant that no row of the spec is: all values that the spec gives its members are in it."""
    return _name(variant.stack.name, variant, sorted(target for target in variant.given if target[0] != TRAIN))


def _content(variant: Variant) -> tuple[object, ...]:
    return (variant.stack.name, variant.stack.off_the_shelf, variant.params, variant.recipe, variant.published)


def _telling(variants: Sequence[Variant]) -> list[Target]:
    """Targets in which the variants differ, of those that the spec gives; members first, then the recipe."""
    given = dict.fromkeys(target for variant in variants for target in variant.given)
    differing = [target for target in given if len({_value(variant, target) for variant in variants}) > 1]
    return sorted(differing, key=lambda target: (target[0] == TRAIN, target[0]))


def _value(variant: Variant, target: Target) -> str | None:
    owner, name = target
    if owner == TRAIN:
        return _text(getattr(variant.recipe, name))
    if owner >= len(variant.params):  # stacks of different lengths may share a label
        return None
    return _text(dict(variant.params[owner]).get(name))


def _name(name: str, variant: Variant, shown: Sequence[Target]) -> str:
    parts: list[str] = []
    members = [name] if variant.stack.label else [facts.name for facts in variant.methods]
    for position, member in enumerate(members):
        owners = {position} if not variant.stack.label else set(range(len(variant.methods)))
        values = [f"{field}={_value(variant, (owner, field))}" for owner, field in shown if owner in owners]
        is_later = not variant.stack.label and position in variant.stack.off_the_shelf
        values = [*([OFF_THE_SHELF] if is_later else []), *values]
        parts.append(f"{member}({','.join(values)})" if values else member)
    recipe = [f"{field}={_value(variant, (owner, field))}" for owner, field in shown if owner == TRAIN]
    return " ".join(["+".join(parts), *recipe])


def _text(value: Value) -> str:
    if isinstance(value, tuple):
        return "[" + ",".join(_text(item) for item in value) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
