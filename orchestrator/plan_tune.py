"""`tune:` checked against the methods: what would be searched, before any of it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from methods.api import Domain
from methods.facts import FieldFacts, MethodFacts
from methods.params import resolve_params
from orchestrator.plan_axes import TRAIN, Target
from orchestrator.plan_variants import Variant
from orchestrator.recipes import recipe_facts, recipe_value
from orchestrator.resolve import Lookup
from orchestrator.spec import SweepSpec
from orchestrator.spec_problems import Place, named

_TRAIN = "train"


def check_tune(lookup: Lookup, known: Sequence[Variant]) -> None:
    """Note every key of the space that no stack has, that is there twice or an axis too, or whose domain the parameter
    cannot take; where no stack could be read, of the recipe's alone."""
    tune = lookup.spec.tune
    if tune is None:
        return
    methods = {facts.name: facts for variant in known for facts in variant.methods}
    owners = {_TRAIN: recipe_facts(), **methods}
    first: dict[tuple[str, str], str] = {}
    for key in _keys(lookup.spec):
        path: Place = ("tune", "space", key)
        owner, dot, name = key.rpartition(".")
        owner = owner if dot else _TRAIN
        if owner not in owners and (not known or lookup.is_left_out(owner)):
            continue
        field = _field(owners[owner], name) if owner in owners else None
        if field is None:
            lookup.problem(path, named("parameter to tune", key, _tunable(methods)))
            continue
        other = first.setdefault((owner, name), key)
        if other != key:
            lookup.problem(path, f"is {other} again; keep one")
        wrong = _wrong(owners[owner], field, tune.space[key]) if key in tune.space else None
        if wrong:
            lookup.problem(path, wrong)
        if any(len(values) > 1 for values in _values(known, owner, name)):
            lookup.problem(path, f"{key} is both an axis and in the search space; keep one")


def _keys(spec: SweepSpec) -> list[str]:
    """As written, those with a domain that could not be read among them: their names are looked up all the same."""
    data = spec.document.data
    tune = data.get("tune") if isinstance(data, dict) else None
    space = tune.get("space") if isinstance(tune, dict) else None
    return list(space) if isinstance(space, dict) else []


def _field(facts: MethodFacts, name: str) -> FieldFacts | None:
    return next((field for field in facts.fields if field.name == name), None)


def _wrong(facts: MethodFacts, field: FieldFacts, domain: Domain) -> str | None:
    """Why the parameter cannot take what lies in the domain. Between two good ends it can: ranges have no holes, but
    whole numbers have."""
    if field.type == "int" and not field.is_list and domain.kind in ("log", "uniform"):
        return f"is a domain {domain.kind}; {field.name} takes whole numbers: use int or choice"
    for value in domain.values:
        if facts is recipe_facts():
            text = recipe_value(field.name, value)[1]
        else:
            text = next((text for _, text in resolve_params(facts, {field.name: value})[1]), None)
        if text:
            return f"{text} (domain {domain.kind} {list(domain.values)})"
    return None


def _tunable(methods: Mapping[str, MethodFacts]) -> list[str]:
    fields = [field.name for field in recipe_facts().fields]
    return fields + [f"{facts.name}.{field.name}" for facts in methods.values() for field in facts.fields]


def _values(known: Sequence[Variant], owner: str, name: str) -> list[set[str]]:
    """The values that each stack gives to that parameter over its variants: more than one is an axis."""
    found: dict[int, set[str]] = {}
    for variant in known:
        names = [facts.name for facts in variant.methods]
        if owner != _TRAIN and owner not in names:
            continue
        target: Target = (TRAIN if owner == _TRAIN else names.index(owner), name)
        if target in variant.given:
            found.setdefault(id(variant.stack), set()).add(repr(variant.given[target]))
    return list(found.values())
