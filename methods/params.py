"""Hyper-parameters from a spec: checked, coerced and completed with a method's defaults, without torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from math import isfinite

from methods.api import MethodError, Scalar
from methods.facts import FieldFacts, MethodFacts, Params, Value

Problem = tuple[str, str]
"""(field, what is wrong and what was expected)."""


def resolve_params(facts: MethodFacts, given: Mapping[str, object]) -> tuple[Params, list[Problem]]:
    """All hyper-parameters, defaults filled in, and every problem found; a field with a problem has its default.

    An integer is welcome in a float field, 8.0 in an integer field; a list field takes lists and tuples only.
    """
    problems: list[Problem] = []
    known = {field.name: field for field in facts.fields}
    values = {name: field.default for name, field in known.items()}
    for name, value in given.items():
        if name not in known:
            expected = ", ".join(sorted(known)) or "none: this method has no parameters"
            problems.append((name, f"is no parameter of {facts.name!r}.{did_you_mean(name, known)} Known: {expected}"))
            continue
        try:
            values[name] = _coerced(known[name], value)
        except MethodError as error:
            problems.append((name, str(error)))
    return tuple(sorted(values.items(), key=lambda pair: pair[0])), problems


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ " Did you mean 'lora'?" with a leading space, or nothing."""
    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _coerced(field: FieldFacts, value: object) -> Value:
    if value is None and field.optional:
        return None
    if field.is_list:
        if not isinstance(value, list | tuple):
            raise MethodError(f"is {value!r}; expected a list of {field.type}")
        return tuple(_scalar(field, item) for item in value)
    return _scalar(field, value)


def _scalar(field: FieldFacts, value: object) -> Scalar:
    typed = _typed(field.type, value)
    if typed is None:
        raise MethodError(f"is {value!r}; expected {_EXPECTED[field.type]}")
    if field.choices and typed not in field.choices:
        hint = did_you_mean(str(typed), field.choices)
        raise MethodError(f"is {typed!r}; expected one of {', '.join(field.choices)}.{hint}")
    if field.bounds is not None and isinstance(typed, int | float) and not field.bounds[0] <= typed <= field.bounds[1]:
        raise MethodError(f"is {typed}; expected {field.bounds[0]:g} to {field.bounds[1]:g}")
    return typed


_EXPECTED = {"bool": "true or false", "int": "a whole number", "float": "a finite number", "str": "a word"}


def _typed(type_name: str, value: object) -> Scalar:
    """The value in that type; None where it is not one."""
    if isinstance(value, bool):
        return value if type_name == "bool" else None
    if type_name == "str":
        return value if isinstance(value, str) else None
    if not isinstance(value, int | float) or not isfinite(value) or type_name == "bool":
        return None
    if type_name == "float":
        return float(value)
    return int(value) if float(value).is_integer() else None
