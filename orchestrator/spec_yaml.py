"""YAML text -> plain data and the line of every place in it.

PyYAML reads YAML 1.1, where `1e-3` is text, `no` is false, `1:30` is 90 and the second of two equal keys silently
wins. Here scalars follow YAML 1.2's core schema and a key that is written twice is a problem.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import yaml

from orchestrator.spec_problems import Place, Problem

_STR, _NULL, _BOOL, _INT, _FLOAT, _MAP, _SEQ = (
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "null", "bool", "int", "float", "map", "seq")
)
_MOST_NODES = 100_000  # an alias that repeats itself ("billion laughs") must not eat the memory
_DEEPEST = 30
_LONGEST_NUMBER = 300


class _CoreLoader(yaml.SafeLoader):
    """SafeLoader with the core schema's scalars."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


_SCALARS = {
    _NULL: (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    _BOOL: (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    _INT: (r"[-+]?[0-9]+", list("-+0123456789")),
    _FLOAT: (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
}
for _tag, (_pattern, _first) in _SCALARS.items():
    _CoreLoader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), _first)

_READ: dict[str, Callable[[str], object]] = {
    _STR: str,
    _NULL: lambda _: None,
    _BOOL: lambda text: text.lower() == "true",
    _INT: int,
    _FLOAT: float,
}


@dataclass
class Document:
    """A YAML document as plain data; `lines` has the 1-based line of every key and list element."""

    data: object = None
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    nodes: int = 0

    def problem(self, path: Place, text: str) -> None:
        """Note what is wrong at that place."""
        self.problems.append(Problem(path, text, self.line_of(path)))

    def line_of(self, path: Place) -> int | None:
        """The line of the path, or of the nearest place above it that the file has."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return None


def read_yaml(text: str) -> Document:
    """The document in the text. What cannot be read at all is a problem in it, never an exception."""
    document = Document()
    try:
        node = yaml.compose(text, Loader=_CoreLoader)
        if node is not None:
            document.data = _plain(node, (), document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        document.problems.append(Problem((), f"is not YAML: {what}", mark.line + 1 if mark else None))
    except yaml.YAMLError as error:
        document.problems.append(Problem((), f"is not YAML: {' '.join(str(error).split())}"))
    except (_TooLarge, RecursionError):
        text = f"is too large: a spec has at most {_MOST_NODES:,} values, {_DEEPEST} levels deep (aliases count again)"
        document.problems.append(Problem((), text))
    return document


class _TooLarge(Exception):
    """More nodes or levels than a spec ever has."""


def _plain(node: yaml.Node, path: Place, document: Document) -> object:
    document.nodes += 1
    if document.nodes > _MOST_NODES or len(path) > _DEEPEST:
        raise _TooLarge
    document.lines.setdefault(path, node.start_mark.line + 1)
    if node.tag not in (_MAP, _SEQ) and node.tag not in _READ:
        document.problems.append(Problem(path, f"the tag {node.tag!r} is not supported", node.start_mark.line + 1))
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*path, position), document) for position, item in enumerate(node.value)]
    return _scalar(node, path, document)


def _mapping(node: yaml.MappingNode, path: Place, document: Document) -> dict[str, object]:
    found: dict[str, object] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _STR:
            document.problems.append(Problem(path, f"the key {key_node.value!r} is not text; write it in quotes", line))
            continue
        place = (*path, str(key_node.value))
        if key_node.value in found:
            first = document.lines[place]
            document.problems.append(Problem(place, f"is written twice (first on line {first}); keep one", line))
            continue
        document.lines[place] = line
        found[key_node.value] = _plain(value_node, place, document)
    return found


def _scalar(node: yaml.Node, path: Place, document: Document) -> object:
    text = str(node.value)
    try:
        value = _READ[node.tag](text) if node.tag not in (_INT, _FLOAT) or len(text) <= _LONGEST_NUMBER else math.inf
    except ValueError:
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        shown = text if len(text) <= 40 else f"{text[:40]}…"
        document.problems.append(Problem(path, f"{shown} is not a finite number", node.start_mark.line + 1))
        return None
    return value
