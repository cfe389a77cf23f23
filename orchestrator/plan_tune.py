"""`tune:` checked against the methods: what would be searched, before any of it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from methods.facts import MethodFacts
from methods.params import resolve_params
from orchestrator.plan_axes import TRAIN, Target
from orchestrator.plan_variants import Variant
from orchestrator.recipes import is_recipe_field, recipe_facts, recipe_value
from orchestrator.resolve import Lookup
from orchestrator.spec_problems import Place, named


def check_tune(lookup: Lookup, known: Sequence[Variant]) -> None:
    """Note every key of the space that no stack has, that is an axis too, or whose domain the parameter cannot take."""
    tune = lookup.spec.tune
    if tune is None or not known:
        return
    methods = {facts.name: facts for variant in known for facts in variant.methods}
    for key, domain in tune.space.items():
        path: Place = ("tune", "space", key)
        owner, _, name = key.rpartition(".")
        if owner in ("", "train") and is_recipe_field(name):
            wrong = [text for value in domain.values if (text := recipe_value(name, value)[1])]
            targets = {TRAIN: "train"}
        elif owner in methods:
            wrong = [text for value in domain.values for _, text in resolve_params(methods[owner], {name: value})[1]]
            targets = {}
        elif lookup.is_left_out(owner):
            continue
        else:
            lookup.problem(path, named("parameter to tune", key, _tunable(methods)))
            continue
        if wrong:
            lookup.problem(path, f"{wrong[0]} (domain {domain.kind} {list(domain.values)})")
        if any(len(values) > 1 for values in _values(known, owner if not targets else "train", name)):
            lookup.problem(path, f"{key} is both an axis and in the search space; keep one")


def _tunable(methods: Mapping[str, MethodFacts]) -> list[str]:
    fields = [field.name for field in recipe_facts().fields]
    return fields + [f"{facts.name}.{field.name}" for facts in methods.values() for field in facts.fields]


def _values(known: Sequence[Variant], owner: str, name: str) -> list[set[str]]:
    """The values that each stack gives to that parameter over its variants: more than one is an axis."""
    found: dict[int, set[str]] = {}
    for variant in known:
        names = [facts.name for facts in variant.methods]
        if owner != "train" and owner not in names:
            continue
        target: Target = (TRAIN if owner == "train" else names.index(owner), name)
        if target in variant.given:
            found.setdefault(id(variant.stack), set()).add(repr(variant.given[target]))
    return list(found.values())
