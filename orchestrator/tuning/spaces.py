"""The space that a recorded study was searched in: from the sweep's spec, or as wide as the values that were tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from methods.api import Domain, MethodError, Scalar
from methods.registry import facts
from orchestrator.recipes import is_recipe_field
from orchestrator.spec import parse_spec
from orchestrator.spec_problems import SpecError
from orchestrator.tuning.cells import TRAIN
from storage.records import Trial


def written_space(space: Mapping[str, Domain]) -> dict[str, Domain]:
    """A spec's space with the owner in every name, as trials have it: `lr` is `train.lr`."""
    return {f"{TRAIN}.{key}" if is_recipe_field(key) else key: domain for key, domain in space.items()}


def spec_space(text: str) -> dict[str, Domain]:
    """The space that stands in a spec's text; empty where it has none, or cannot be read by this version."""
    try:
        tune = parse_spec(text).tune
    except SpecError:
        return {}
    return {} if tune is None else written_space(tune.space)


def space_of(trials: Sequence[Trial], written: Mapping[str, Domain]) -> dict[str, Domain]:
    """Parameter -> domain, for every parameter of the trials.

    `written` goes first, then the method's own space. The spec may have been edited since, and a method may be gone:
    a domain that does not hold all values tried is not the one that was searched, and gives way to their range.
    """
    tried: dict[str, list[Scalar]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            tried.setdefault(name, []).append(value)
    found: dict[str, Domain] = {}
    for name, values in tried.items():
        domain = written.get(name) or _own(name)
        found[name] = domain if domain is not None and holds(domain, values) else _range(values)
    return found


def _own(name: str) -> Domain | None:
    owner, _, key = name.rpartition(".")
    if owner == TRAIN:
        return None
    try:
        return facts(owner).space.get(key)
    except MethodError:
        return None


def holds(domain: Domain, values: Sequence[Scalar]) -> bool:
    """Whether all the values lie in the domain."""
    if domain.kind == "choice":
        return all(value in domain.values for value in values)
    low, high = (float(str(end)) for end in domain.values)
    numbers = [value for value in values if isinstance(value, int if domain.kind == "int" else int | float)]
    return len(numbers) == len(values) and all(low <= value <= high for value in numbers)


def _range(values: Sequence[Scalar]) -> Domain:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return Domain("choice", tuple(sorted(set(values), key=repr)))
    kind = "int" if all(isinstance(value, int) for value in numbers) else "uniform"
    return Domain(kind, (min(numbers), max(numbers)))
