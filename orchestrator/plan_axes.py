"""Axes: the lists in a spec, multiplied into variants; a variant becomes one row of the board per backbone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from methods.facts import MethodFacts, Params, Value
from methods.params import resolve_params
from orchestrator.recipes import is_recipe_field, recipe_facts, recipe_of, recipe_value
from orchestrator.resolve import Lookup
from orchestrator.spec import Zip
from orchestrator.spec_methods import StackSpec
from orchestrator.spec_problems import Place, named
from storage.records import Recipe

TRAIN = -1
Target = tuple[int, str]
"""What an axis varies: (member of the stack, hyper-parameter) or (TRAIN, recipe field)."""


@dataclass(frozen=True)
class Axis:
    """Targets that move together; each of `values` gives one value per target. A plain axis has one target."""

    targets: tuple[Target, ...]
    values: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Variant:
    """A stack at one point of its axes: resolved hyper-parameters and recipe, before overrides."""

    stack: StackSpec
    methods: tuple[MethodFacts, ...]
    given: Mapping[Target, Value]  # what the spec says, in contrast to defaults
    params: tuple[Params, ...]
    recipe: Recipe


@dataclass(frozen=True)
class Shared:
    """What the spec gives to every stack: fixed recipe values, axes of the recipe, and zips."""

    fixed: dict[Target, Value]
    axes: tuple[Axis, ...]
    zips: tuple[Zip, ...]


def shared_axes(lookup: Lookup) -> Shared:
    """`train:` and those zips that name recipe fields only; the other zips belong to the stacks they name."""
    spec = lookup.spec
    fixed, axes = _split(lookup, recipe_facts(), (TRAIN, spec.train), ("train",))
    own = [zipped for zipped in spec.zips if any(_member(key) for key in zipped.axes)]
    for zipped in spec.zips:
        _check_zip(lookup, zipped)
        if zipped not in own:
            axis = _zip_axis(lookup, zipped, (), fixed | dict.fromkeys(_targets(axes)))
            axes += [] if axis is None else [axis]
    return Shared(fixed, tuple(axes), tuple(own))


def variants(lookup: Lookup, stack: StackSpec, shared: Shared) -> list[Variant]:
    """Every point of the axes of one stack, in a fixed order; none when the stack has a problem."""
    methods = lookup.methods(stack)
    if methods is None:
        return []
    before = len(lookup.problems)
    fixed: dict[Target, Value] = {}
    axes: list[Axis] = []
    for position, (member, facts) in enumerate(zip(stack.members, methods, strict=True)):
        own, own_axes = _split(lookup, facts, (position, member.given), member.path)
        fixed |= own
        axes += own_axes
    train, train_axes = _split(lookup, recipe_facts(), (TRAIN, stack.train), stack.train_path)
    fixed, axes = fixed | train, axes + train_axes
    taken = fixed | dict.fromkeys(_targets(axes)) | shared.fixed | dict.fromkeys(_targets(shared.axes))
    for zipped in shared.zips:
        if all(_member(key) in {None, *(facts.name for facts in methods)} for key in zipped.axes):
            axis = _zip_axis(lookup, zipped, methods, taken)
            axes += [] if axis is None else [axis]
    axes += [axis for axis in shared.axes if not all(target in taken_by(fixed, axes) for target in axis.targets)]
    count = prod(len(axis.values) for axis in axes)
    if count > lookup.spec.max_jobs:
        lookup.problem(stack.path, f"has {count:,} combinations of its axes; max_jobs is {lookup.spec.max_jobs:,}")
    if len(lookup.problems) > before:
        return []
    return [_variant(stack, methods, {**shared.fixed, **fixed}, point) for point in _points(axes)]


def taken_by(fixed: Mapping[Target, Value], axes: Iterable[Axis]) -> set[Target]:
    """The targets that a stack sets itself, by a value or by an axis."""
    return {*fixed, *_targets(axes)}


def _points(axes: Sequence[Axis]) -> Iterable[dict[Target, Value]]:
    for combination in product(*(axis.values for axis in axes)):
        yield {
            target: value
            for axis, values in zip(axes, combination, strict=True)
            for target, value in zip(axis.targets, values, strict=True)
        }


def _variant(
    stack: StackSpec, methods: tuple[MethodFacts, ...], fixed: Mapping[Target, Value], point: Mapping[Target, Value]
) -> Variant:
    given = {**fixed, **point}
    params = tuple(
        resolve_params(facts, {name: value for (owner, name), value in given.items() if owner == position})[0]
        for position, facts in enumerate(methods)
    )
    train = {name: value for (owner, name), value in given.items() if owner == TRAIN}
    return Variant(stack, methods, given, params, recipe_of(methods, train))


def _targets(axes: Iterable[Axis]) -> list[Target]:
    return [target for axis in axes for target in axis.targets]


def _split(
    lookup: Lookup, facts: MethodFacts, given: tuple[int, Mapping[str, object]], path: Place
) -> tuple[dict[Target, Value], list[Axis]]:
    """Fixed values and axes among the given ones, in the order of the method's fields, whatever the file's order."""
    owner, values = given
    order = {field.name: place for place, field in enumerate(facts.fields)}
    fixed: dict[Target, Value] = {}
    axes: list[Axis] = []
    for name in sorted(values, key=lambda name: order.get(name, len(order))):
        lists = any(field.name == name and field.is_list for field in facts.fields)
        places, is_axis = _places(values[name], lists, (*path, name))
        if not places:
            lookup.problem((*path, name), "is an empty axis; expected at least one value")
        typed = [_checked(lookup, facts, name, value, place) for value, place in places]
        if is_axis:
            axes.append(Axis(((owner, name),), tuple((value,) for value in typed)))
        elif typed:
            fixed[owner, name] = typed[0]
    return fixed, axes


def _places(value: object, is_list: bool, path: Place) -> tuple[list[tuple[object, Place]], bool]:
    """(value, its place) of every value given, and whether they are an axis."""
    if isinstance(value, dict) and set(value) == {"axis"} and isinstance(value["axis"], list):
        return [(item, (*path, "axis", at)) for at, item in enumerate(value["axis"])], True
    if isinstance(value, list) and not is_list:
        return [(item, (*path, at)) for at, item in enumerate(value)], True
    return [(value, path)], False


def _checked(lookup: Lookup, facts: MethodFacts, name: str, value: object, path: Place) -> Value:
    if facts is recipe_facts():
        typed, wrong = recipe_value(name, value)
        if wrong:
            lookup.problem(path, wrong)
        return typed
    params, problems = resolve_params(facts, {name: value})
    for _, text in problems:
        hint = "; write {axis: [[…], […]]} for an axis of lists" if isinstance(value, list) and value != [] else ""
        lookup.problem(path, text + (hint if any(isinstance(item, list) for item in _items(value)) else ""))
    return dict(params).get(name)


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _member(key: str) -> str | None:
    """The method that a zipped key belongs to; None for recipe fields (`train.lr`, or `lr` for short)."""
    owner, dot, _ = key.rpartition(".")
    return owner if dot and owner != "train" else None


def _check_zip(lookup: Lookup, zipped: Zip) -> None:
    lengths = {key: len(values) for key, values in zipped.axes.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        lookup.problem(zipped.path, f"pairs lists of different lengths: {shown}")
    if not all(lengths.values()):
        lookup.problem(zipped.path, "has an empty list; expected at least one value for each key")
    owners = {_member(key) for key in zipped.axes} - {None}
    stacks = [*lookup.spec.stacks, *(include.stack for include in lookup.spec.include)]
    if not any(owners <= {member.name for member in stack.members} for stack in stacks):
        lookup.problem(zipped.path, f"matches nothing: no stack has {' and '.join(sorted(map(str, owners)))}")
    for key in zipped.axes:
        if _member(key) is None and not is_recipe_field(key.removeprefix("train.")):
            known = [f"train.{field.name}" for field in recipe_facts().fields]
            text = named("axis to zip", key, known)
            lookup.problem((*zipped.path, key), f"{text} (or <method>.<parameter>)")


def _zip_axis(
    lookup: Lookup, zipped: Zip, methods: tuple[MethodFacts, ...], taken: Mapping[Target, object]
) -> Axis | None:
    """The zip as an axis of a stack with these methods; its problems are noted."""
    targets: list[Target] = []
    columns: list[list[Value]] = []
    for key, values in sorted(zipped.axes.items()):
        owner, name = _member(key), key.rpartition(".")[2]
        if owner is None and not is_recipe_field(name):
            return None
        position = TRAIN if owner is None else [facts.name for facts in methods].index(owner)
        facts = recipe_facts() if owner is None else methods[position]
        if (position, name) in taken:
            lookup.problem((*zipped.path, key), f"{key} is given elsewhere too (a value or an axis); keep one")
        targets.append((position, name))
        places = [(value, (*zipped.path, key, at)) for at, value in enumerate(values)]
        columns.append([_checked(lookup, facts, name, value, place) for value, place in places])
    if len({len(column) for column in columns}) != 1:
        return None
    return Axis(tuple(targets), tuple(zip(*columns, strict=True)))
