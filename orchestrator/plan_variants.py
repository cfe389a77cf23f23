"""Variants: a stack at one point of its axes; each becomes one row of the board per backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

from methods.facts import MethodFacts, Params, Value
from methods.params import resolve_params
from orchestrator.plan_axes import TRAIN, Given, Target, given_by
from orchestrator.plan_recipes import Change, Published
from orchestrator.plan_zip import check_zip, owners, zip_axis
from orchestrator.recipes import recipe_facts, recipe_of
from orchestrator.resolve import Lookup
from orchestrator.spec_methods import OFF_THE_SHELF, StackSpec
from storage.records import Phase, Recipe


@dataclass(frozen=True)
class Variant:
    """A stack at one point of its axes: resolved hyper-parameters and recipe, before overrides."""

    stack: StackSpec
    methods: tuple[MethodFacts, ...]
    given: Mapping[Target, Value]  # what the spec says, in contrast to defaults
    params: tuple[Params, ...]
    recipe: Recipe
    published: Published | None = None

    def row(self, dataset: str) -> tuple[Change, ...]:
        """What the published recipe says for that data set alone, where the spec leaves it open."""
        return () if self.published is None else self.published.row(dataset, self.given, self.methods)


def variants(lookup: Lookup, stack: StackSpec, train: Given, published: Published | None = None) -> list[Variant]:
    """Every point of the axes of one stack, in a fixed order; none when the stack has a problem or is left out.

    `train` is the spec's own part of the recipe: what the stack gives itself wins over it, and both over `published`.
    """
    methods = lookup.methods(stack)
    if methods is None:
        _check_the_rest(lookup, stack)
        return []
    before = len(lookup.problems)
    _check_off_the_shelf(lookup, stack, methods)
    own = given_by(lookup, recipe_facts(), (TRAIN, stack.train), stack.train_path)
    for position, (member, facts) in reversed(list(enumerate(zip(stack.members, methods, strict=True)))):
        own = given_by(lookup, facts, (position, member.given), member.path) + own
    for zipped in lookup.spec.zips:
        if owners(zipped) and owners(zipped) <= {facts.name for facts in methods}:
            own += zip_axis(lookup, zipped, methods, own.targets | train.targets)
    rest = Given(train.fixed, tuple(axis for axis in train.axes if not own.targets >= set(axis.targets)))
    count = prod(len(axis.values) for axis in own.axes + rest.axes)
    if count > lookup.spec.max_jobs:
        lookup.problem(stack.path, f"has {count:,} combinations of its axes; max_jobs is {lookup.spec.max_jobs:,}")
    if len(lookup.problems) > before:
        return []
    points = [common | point for point in own.points() for common in rest.points()]
    return [_variant(stack, methods, point, published) for point in points]


def _check_the_rest(lookup: Lookup, stack: StackSpec) -> None:
    """Note what is wrong in a stack that is not planned: in the members that are known, and in its recipe."""
    given_by(lookup, recipe_facts(), (TRAIN, stack.train), stack.train_path)
    for member in stack.members:
        facts = lookup.known_method(member.name)
        if facts is not None:
            given_by(lookup, facts, (0, member.given), member.path)


def trained_part(variant: Variant) -> Variant:
    """What is trained of a stack with members off the shelf: the same stack without them."""
    stack = variant.stack
    kept = [at for at in range(len(variant.methods)) if at not in stack.off_the_shelf]
    return replace(
        variant,
        stack=replace(stack, members=tuple(stack.members[at] for at in kept), label="", off_the_shelf=()),
        methods=tuple(variant.methods[at] for at in kept),
        given={(kept.index(at), name): value for (at, name), value in variant.given.items() if at in kept},
        params=tuple(variant.params[at] for at in kept),
    )


def _check_off_the_shelf(lookup: Lookup, stack: StackSpec, methods: tuple[MethodFacts, ...]) -> None:
    if stack.off_the_shelf and lookup.spec.phase != Phase.FINAL:
        lookup.problem(
            stack.path, f"{OFF_THE_SHELF} evaluates what final jobs have trained; phase is {lookup.spec.phase}"
        )
    for at in stack.off_the_shelf:
        passport = methods[at].passport
        if "tokens" not in methods[at].seams or passport is None or passport.trained_params:
            text = (
                f"{methods[at].name} has to be trained; {OFF_THE_SHELF} is for what removes tokens and learns nothing"
            )
            lookup.problem((*stack.members[at].path, "mode"), text)


def shared_train(lookup: Lookup) -> Given:
    """What `train:` and those zips give that name recipe fields only."""
    train = given_by(lookup, recipe_facts(), (TRAIN, lookup.spec.train), ("train",))
    for zipped in lookup.spec.zips:
        check_zip(lookup, zipped)
        if not owners(zipped):
            train += zip_axis(lookup, zipped, (), train.targets)
    return train


def _variant(
    stack: StackSpec, methods: tuple[MethodFacts, ...], given: Mapping[Target, Value], published: Published | None
) -> Variant:
    def values(position: int, owner: str) -> dict[str, Value]:
        own = {name: value for (at, name), value in given.items() if at == position}
        return own if published is None else published.common_of(owner) | own

    params = tuple(resolve_params(facts, values(at, facts.name))[0] for at, facts in enumerate(methods))
    return Variant(stack, methods, given, params, recipe_of(methods, values(TRAIN, "train")), published)
