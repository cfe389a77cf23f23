"""`zip:` lists that go together; one that names methods belongs to the stacks that have all of them."""

from __future__ import annotations

from methods.facts import MethodFacts, Value
from orchestrator.plan_axes import TRAIN, Axis, Given, Target, checked_value
from orchestrator.recipes import is_recipe_field, recipe_facts
from orchestrator.resolve import Lookup
from orchestrator.spec import Zip
from orchestrator.spec_problems import named


def owners(zipped: Zip) -> set[str]:
    """The methods that the zipped keys belong to; recipe fields (`train.lr`, or `lr` for short) belong to none."""
    found = {key.rpartition(".")[0] for key in zipped.axes}
    return found - {"", "train"}


def check_zip(lookup: Lookup, zipped: Zip) -> None:
    """Note lists of different lengths, keys that nothing has, and a zip that no stack can use."""
    lengths = {key: len(values) for key, values in zipped.axes.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{key} has {length}" for key, length in lengths.items())
        lookup.problem(zipped.path, f"pairs lists of different lengths: {shown}")
    elif not all(lengths.values()):
        lookup.problem(zipped.path, "has empty lists; expected at least one value for each key")
    needed = owners(zipped)
    stacks = [*lookup.spec.stacks, *(include.stack for include in lookup.spec.include)]
    if not any(needed <= {member.name for member in stack.members} for stack in stacks):
        lookup.problem(zipped.path, f"matches nothing: no stack has {' and '.join(sorted(needed))}")
    for key in zipped.axes:
        owner, _, name = key.rpartition(".")
        if owner in ("", "train") and not is_recipe_field(name):
            known = [f"train.{field.name}" for field in recipe_facts().fields]
            lookup.problem((*zipped.path, key), f"{named('axis to zip', key, known)} (or <method>.<parameter>)")


def zip_axis(lookup: Lookup, zipped: Zip, methods: tuple[MethodFacts, ...], taken: set[Target]) -> Given:
    """The zip as one axis of a stack with these methods; targets that are `taken` are a problem."""
    targets: list[Target] = []
    columns: list[list[Value]] = []
    names = [facts.name for facts in methods]
    for key, values in sorted(zipped.axes.items()):
        owner, _, name = key.rpartition(".")
        position = names.index(owner) if owner in names else TRAIN
        facts = recipe_facts() if position == TRAIN else methods[position]
        if not any(field.name == name for field in facts.fields):
            if position != TRAIN:  # a recipe field that does not exist is noted by check_zip
                checked_value(lookup, facts, (name, None), (*zipped.path, key))
            return Given({}, ())
        if (position, name) in taken:
            lookup.problem((*zipped.path, key), "is given elsewhere too, as a value or an axis; keep one")
        targets.append((position, name))
        places = [(value, (*zipped.path, key, at)) for at, value in enumerate(values)]
        columns.append([checked_value(lookup, facts, (name, value), place) for value, place in places])
    if len({len(column) for column in columns}) != 1:
        return Given({}, ())
    return Given({}, (Axis(tuple(targets), tuple(zip(*columns, strict=True))),))
