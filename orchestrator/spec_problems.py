"""What is wrong with a spec: every problem at once, each with its place in the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from methods.params import did_you_mean
from orchestrator.errors import OrchestratorError

Place = tuple[str | int, ...]
"""Where in the file: keys and list positions from the top, e.g. ("methods", 1, "lora", "rank")."""


def path_text(path: Place) -> str:
    """The path as people write it.

    >>> path_text(("methods", 1, "lora", "rnk"))
    'methods[1].lora.rnk'
    """
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def named(kind: str, name: str, known: Iterable[str]) -> str:
    """`no <kind> 'lroa'. Did you mean 'lora'?`; where nothing is near, the names that are known."""
    names = sorted(set(known))
    near = did_you_mean(name, names)
    if near:
        return f"no {kind} {name!r}.{near}"
    shown = ", ".join(names[:20]) + (f" … ({len(names)} in all)" if len(names) > 20 else "")
    return f"no {kind} {name!r}. Known: {shown or 'none'}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `line` is 1-based, None where the file has no such place."""

    path: Place
    text: str
    line: int | None = None

    def __str__(self) -> str:
        place = path_text(self.path)
        if self.line is not None:
            place = f"{place} (line {self.line})" if place else f"line {self.line}"
        return f"{place}: {self.text}" if place else self.text


class SpecError(OrchestratorError):
    """The spec cannot be planned; `problems` has every reason, in the order of the file."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line or 0))
        count = len(self.problems)
        head = f"{source} has {count} problem{'s' if count != 1 else ''}:"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


def located(location: tuple[int | str, ...], raw: object) -> Place:
    """The location without pydantic's own parts: what of it the file has, and the key that it should have."""
    path: list[int | str] = []
    for part in location:
        if isinstance(raw, list) and isinstance(part, int):
            raw = raw[part]
        elif isinstance(raw, dict) and isinstance(part, str):
            raw = raw.get(part)
        else:
            continue
        path.append(part)
    return tuple(path)


def without(block: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """A copy of the block that lacks the entry there: a key, or a key of a block in it."""
    first, deeper = place[0], place[1:]
    inner = block.get(str(first))
    if deeper and isinstance(inner, dict):
        return {**block, str(first): without(inner, deeper)}
    return {key: value for key, value in block.items() if key != first}
