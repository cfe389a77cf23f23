"""A method on a command line: `name:key=value,key=value`, e.g. `lora:rank=8,targets=[qkv,proj]`.

Values are scalars of a spec's YAML (`1e-3` is a number, `true` a truth value, `null` none). A list stands in brackets,
which protect its commas; semicolons separate too, for shells and files in which commas mean something else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from orchestrator.spec_methods import MethodSpec
from orchestrator.spec_problems import Place, Problem
from orchestrator.spec_yaml import read_yaml

_FORM = "expected name:key=value,key=value"


def read_method(text: str, known: Collection[str]) -> tuple[MethodSpec, list[Problem]]:
    """The method as written, and everything that is wrong with how it is written; names and values are not checked.

    `known` are names of methods, needed to tell `lora:rank` (a parameter without a value) from `package.module:Class`.

    >>> read_method("pkg.mod:Class:width=3,depths=[1;2]", ())[0].given
    {'width': 3, 'depths': [1, 2]}
    """
    name, listed = _split_name(text.strip(), known)
    path: Place = (f"--method {name or text}",)
    if not name:
        return MethodSpec(name, {}, path), [Problem(path, f"names no method; {_FORM}")]
    given: dict[str, object] = {}
    problems: list[Problem] = []
    for part in _parts(listed):
        key, equals, value = part.partition("=")
        place = (*path, key.strip())
        if not equals or not key.strip():
            problems.append(Problem(path, f"{part.strip()!r} is no key=value; {_FORM}"))
            continue
        if key.strip() in given:
            problems.append(Problem(place, "is given twice; keep one"))
        document = read_yaml(_with_commas(value))
        problems += [Problem(place, f"{value.strip()!r} {problem.text}") for problem in document.problems]
        given[key.strip()] = document.data
    return MethodSpec(name, given, path), problems


def _split_name(text: str, known: Collection[str]) -> tuple[str, str]:
    """(name, parameters): the last colon before the first `=` parts them, as `package.module:Class` has one itself."""
    if "=" in text:
        name, colon, _ = text.partition("=")[0].rpartition(":")
        return (name.strip(), text[len(name) + 1 :]) if colon else (text, "")
    before, _, after = text.partition(":")
    return (before, after) if before in known else (text, "")


def _parts(listed: str) -> Iterator[str]:
    """The text between commas that no bracket protects; empty parts are left out."""
    start = depth = 0
    for at, letter in enumerate(f"{listed},"):
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and (depth <= 0 or at == len(listed)):
            if listed[start:at].strip():
                yield listed[start:at]
            start = at + 1


def _with_commas(value: str) -> str:
    return value.replace(";", ",") if value.strip().startswith("[") else value
