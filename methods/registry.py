"""The methods by name. Importing this module, and asking for facts of our own methods, loads no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from methods.api import Method, MethodError, UnknownMethod
from methods.facts import MethodFacts, facts_of
from methods.params import did_you_mean, resolve_params

METHODS: Mapping[str, str] = {
    "bitfit": "methods.bitfit:BitFit",
    "full": "methods.full:Full",
    "gps": "methods.gps:GPS",
    "linear": "methods.linear:Linear",
    "lora": "methods.lora:LoRA",
    "partial": "methods.partial:Partial",
    "pyra": "methods.pyra:PYRA",
    "random_drop": "methods.random_drop:RandomDrop",
    "tome": "methods.tome:ToMe",
}
"""Our own methods: name -> "module:Class"."""

COMING = frozenset(
    {
        "adapter",
        "adaptformer",
        "consolidator",
        "diffrate",
        "ln_tune",
        "spt_adapter",
        "spt_lora",
        "ssf",
        "vpt_deep",
        "vpt_shallow",
    }
)
"""Methods of the field that are still to come. A spec may name them; plans leave their rows out and say so."""

FACTS_FILE = Path(__file__).with_name("facts.json")
ENTRY_POINTS = "sweepboard.methods"


def known_names() -> tuple[str, ...]:
    """Names of our own methods and of those that installed packages register, sorted."""
    return tuple(sorted(_targets()))


@cache
def facts(name: str) -> MethodFacts:
    """What a plan must know. `name` is a known name or "pkg.mod:Class". Raises UnknownMethod, MethodError.

    Facts of our own methods are read from facts.json; those of outsiders come from their class.
    """
    return _own_facts()[name] if name in METHODS else facts_of(load(name), name)


def load(name: str) -> type[Method]:
    """The method's class, imported. Raises UnknownMethod when there is none of that name."""
    target = name if ":" in name else _targets().get(name)
    if target is None:
        known = known_names()
        raise UnknownMethod(f"no method {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}")
    module, _, attribute = target.partition(":")
    try:
        found: type[Method] = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UnknownMethod(
            f"method {name!r}: cannot import {target!r} ({error}); expected 'package.module:Class'"
        ) from error
    return found


def build(name: str, params: Mapping[str, object]) -> Method:
    """The method with these hyper-parameters, defaults filled in. Raises MethodError naming every wrong one."""
    known = facts(name)
    resolved, problems = resolve_params(known, params)
    if problems:
        raise MethodError(f"method {name!r}: " + "; ".join(f"{field} {text}" for field, text in problems))
    return load(name)(**dict(resolved))


@cache
def _own_facts() -> dict[str, MethodFacts]:
    records = json.loads(FACTS_FILE.read_text(encoding="utf-8"))
    return {name: MethodFacts.from_json(record) for name, record in records.items()}


@cache
def _targets() -> dict[str, str]:
    targets = dict(METHODS)
    for point in entry_points(group=ENTRY_POINTS):
        if point.name in targets:
            raise MethodError(
                f"two methods are called {point.name!r}: {targets[point.name]}, {point.value}; rename the entry point"
            )
        targets[point.name] = point.value
    return targets
