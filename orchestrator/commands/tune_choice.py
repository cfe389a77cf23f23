"""Which studies of a sweep a `tune` command is about, and which of its options belong to which word."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TypeVar

from methods.params import did_you_mean
from orchestrator.errors import NothingToShow, UsageError
from orchestrator.session import Session, pick_sweep
from orchestrator.tuning.report import StudyReport

T = TypeVar("T")

_NAMES = ("row", "backbone", "dataset", "study")
_REPLAY = ("table", "save", "sampler", "pruner", "trials", "hours", "seeds", "parallel", "slots")
_WORDS_OF = {"trial": ("freeze",), "to": ("freeze", "export", "plot")} | dict.fromkeys(_REPLAY, ("replay",))
"""Options that only some words after `tune` know; argparse has them all."""


def add_choice(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("studies", "all of the sweep, or only")
    group.add_argument("--row", metavar="NAME", help="those of this row")
    group.add_argument("--backbone", metavar="NAME", help="those on this backbone")
    group.add_argument("--dataset", metavar="NAME", help="those on this data set, with or without its suite")
    group.add_argument("--study", metavar="ID", help="this one")


def refuse_strays(args: argparse.Namespace) -> None:
    """Raises UsageError with every option that another word after `tune` has, and this one would pass over."""
    strays = [
        f"--{name} belongs to tune {', '.join(words)}"
        for name, words in _WORDS_OF.items()
        if args.what not in words and getattr(args, name) not in (None, [])
    ]
    if strays:
        raise UsageError(f"tune {args.what}: {'; '.join(strays)}")


def pick_searched(session: Session, name: str | None) -> str:
    """The sweep of that name, or the latest one. Raises NothingToShow where there is no sweep at all, UsageError where
    there are others."""
    if not session.store.sweeps():
        raise NothingToShow("nothing to show: the store holds no sweep yet; `sweepboard run SPEC` makes one")
    return pick_sweep(session, name)


def is_narrow(args: argparse.Namespace) -> bool:
    return any(getattr(args, name) is not None for name in _NAMES)


def named(report: StudyReport) -> Mapping[str, str]:
    return {name: str(getattr(report, name)) for name in _NAMES}


def narrowed(sweep: str, studies: Sequence[tuple[Mapping[str, str], T]], args: argparse.Namespace) -> list[T]:
    """What the options leave; `studies`: each with its names (`row`, `backbone`, `dataset`, `study`).

    Raises UsageError with every name that there is not, or where the names exclude each other."""
    wanted = {name: value for name in _NAMES if (value := getattr(args, name)) is not None}
    problems = []
    for name, value in wanted.items():
        if not any(_is(names[name], value, name) for names, _ in studies):
            known = list(dict.fromkeys(names[name] for names, _ in studies))
            hint = did_you_mean(value, known) or f" Known: {', '.join(known)}."
            problems.append(f"{sweep} has no {_SAID.get(name, name)} {value!r} among its searches.{hint}")
    if problems:
        raise UsageError("\n".join(problems))
    left = [one for names, one in studies if all(_is(names[name], value, name) for name, value in wanted.items())]
    if not left:
        said = " ".join(f"--{name} {value}" for name, value in wanted.items())
        raise UsageError(f"{sweep} has no search that is all of {said}; leave one out")
    return left


_SAID = {"dataset": "data set"}


def _is(name: str, wanted: str, kind: str) -> bool:
    return name == wanted or (kind == "dataset" and name.rpartition("/")[2] == wanted)
