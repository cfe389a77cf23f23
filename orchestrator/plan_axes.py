"""Axes: the lists in a spec, and the single values beside them, checked and typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from methods.facts import MethodFacts, Value
from methods.params import resolve_params
from orchestrator.recipes import recipe_facts, recipe_value
from orchestrator.resolve import Lookup
from orchestrator.spec_problems import Place

TRAIN = -1
Target = tuple[int, str]
"""What an axis varies: (member of the stack, hyper-parameter) or (TRAIN, recipe field)."""


@dataclass(frozen=True)
class Axis:
    """Targets that move together; each of `values` gives one value per target. A plain axis has one target."""

    targets: tuple[Target, ...]
    values: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Given:
    """What a part of the spec gives: one value, or an axis, per target."""

    fixed: dict[Target, Value]
    axes: tuple[Axis, ...]

    @property
    def targets(self) -> set[Target]:
        return {*self.fixed, *(target for axis in self.axes for target in axis.targets)}

    def __add__(self, other: Given) -> Given:
        return Given(self.fixed | other.fixed, self.axes + other.axes)

    def points(self) -> Iterator[dict[Target, Value]]:
        """The fixed values with every combination of the axes, the last axis moving fastest."""
        for combination in product(*(axis.values for axis in self.axes)):
            pairs = zip(self.axes, combination, strict=True)
            yield self.fixed | {
                target: value for axis, row in pairs for target, value in zip(axis.targets, row, strict=True)
            }


def given_by(lookup: Lookup, facts: MethodFacts, given: tuple[int, Mapping[str, object]], path: Place) -> Given:
    """Values and axes among the given ones, in the order of the method's fields, whatever the file's order."""
    owner, values = given
    order = {field.name: place for place, field in enumerate(facts.fields)}
    fixed: dict[Target, Value] = {}
    axes: list[Axis] = []
    for name in sorted(values, key=lambda name: (order.get(name, len(order)), name)):
        is_plain = name not in order or facts.fields[order[name]].is_list
        places, is_axis = _places(values[name], is_plain, (*path, name))
        if not places:
            lookup.problem((*path, name), "is an empty axis; expected at least one value")
        typed = [checked_value(lookup, facts, (name, value), place) for value, place in places]
        if is_axis:
            axes.append(Axis(((owner, name),), tuple((value,) for value in typed)))
        elif typed:
            fixed[owner, name] = typed[0]
    return Given(fixed, tuple(axes))


def _places(value: object, is_plain: bool, path: Place) -> tuple[list[tuple[object, Place]], bool]:
    """(value, its place) of every value given, and whether they are an axis; where a list is plain, it is a value."""
    if isinstance(value, dict) and set(value) == {"axis"} and isinstance(value["axis"], list):
        return [(item, (*path, "axis", at)) for at, item in enumerate(value["axis"])], True
    if isinstance(value, list) and not is_plain:
        return [(item, (*path, at)) for at, item in enumerate(value)], True
    return [(value, path)], False


def checked_value(lookup: Lookup, facts: MethodFacts, given: tuple[str, object], path: Place) -> Value:
    """The value in its field's type; a wrong one is noted."""
    name, value = given
    if facts is recipe_facts():
        typed, wrong = recipe_value(name, value)
        if wrong:
            lookup.problem(path, wrong)
        return typed
    params, problems = resolve_params(facts, {name: value})
    for _, text in problems:
        nested = isinstance(value, list) and any(isinstance(item, list) for item in value)
        lookup.problem(path, text + ("; write {axis: [[…], […]]} for an axis of lists" if nested else ""))
    return dict(params).get(name)
