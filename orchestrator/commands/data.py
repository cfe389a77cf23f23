"""`sweepboard data list` and `sweepboard data where`: the data sets that a spec can name, and where they are.
`sweepboard data check` is in `data_check.py`, `data convert` in `data_convert.py`.

Exit codes: 0 done, whether anything is missing or not; 2 no such suite or data set, or a `datasets.yaml` that is wrong.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orchestrator.commands import data_check, data_convert
from orchestrator.errors import UsageError
from orchestrator.session import Session, add_command, add_home_argument, note, open_session, out
from storage.records import SEGMENTATION
from workers.data.catalogue import LOCAL_SUITE, expand, suites
from workers.data.whereabouts import HERE, MISSING, Whereabouts, differing_copies, whereabouts
from workers.errors import WorkerError


def register(commands: argparse._SubParsersAction[Any]) -> None:
    text = "the data sets that a spec can name: which are here, where, and how to get the others"
    parts = add_command(commands, "data", run, text).add_subparsers(metavar="ACTION", required=True)
    listing = add_command(parts, "list", run_list, "data sets with their sizes, and which are here")
    listing.add_argument("suite", nargs="?", metavar="SUITE", help="only this suite (default: all)")
    where = add_command(parts, "where", run_where, "where data sets lie, and how to get those that are missing")
    where.add_argument("pattern", nargs="?", metavar="NAME", help="a name, an alias, @suite/* or @suite/group")
    for command in (listing, where):
        command.add_argument("--json", action="store_true", help="machine-readable")
        add_home_argument(command)
    data_check.add(parts)
    data_convert.add(parts)


def run(args: argparse.Namespace) -> int:
    raise UsageError("`sweepboard data` takes an action: list, where, check or convert")


def run_list(args: argparse.Namespace) -> int:
    with open_session(args) as session:
        found = _found(_names(session, args.suite and f"@{args.suite}/*"), session)
    if args.json:
        out(json.dumps({"version": 1, "datasets": [_record(item) for item in found]}, indent=1))
        return 0
    _print_table(found)
    if session.data_root is None:
        note(
            "SWEEPBOARD_DATA is not set: point it to your folder of data sets; each folder with lists is local/<folder>"
        )
    elif any(item.state != HERE for item in found):
        note("`sweepboard data where NAME` says how to get what is missing, and what is wrong with what is unusable")
    return 0


def run_where(args: argparse.Namespace) -> int:
    with open_session(args) as session:
        found = _found(_names(session, args.pattern), session)
        differing = {item.name: _differing(item, session) for item in found}
    if args.json:
        records = [
            _record(item) | {"differing_copies": [str(folder) for folder in differing[item.name]]} for item in found
        ]
        out(json.dumps({"version": 1, "datasets": records}, indent=1))
    else:
        out("\n\n".join(_card(item, differing[item.name]) for item in found))
    return 0


def _names(session: Session, pattern: str | None) -> tuple[str, ...]:
    """Raises UsageError."""
    try:
        known = suites(session.data_root)
        if pattern is None:
            return tuple(name for suite in known.values() for name in suite.datasets)
        if pattern == f"@{LOCAL_SUITE}/*":
            return known[LOCAL_SUITE].datasets  # it may be empty
        return expand(pattern, session.data_root) if pattern.startswith("@") else (pattern,)
    except WorkerError as error:
        raise UsageError(str(error)) from error


def _found(names: Sequence[str], session: Session) -> list[Whereabouts]:
    try:
        return [whereabouts(name, session.data_root) for name in names]
    except WorkerError as error:
        raise UsageError(str(error)) from error


def _differing(item: Whereabouts, session: Session) -> tuple[Path, ...]:
    """Copies that differ from what is read; all of them where that cannot be seen because one is damaged."""
    try:
        return differing_copies(item, session.cache)
    except WorkerError:
        return item.folders[1:]


def _record(item: Whereabouts) -> dict[str, object]:
    return {
        "name": item.name,
        "suite": item.suite,
        "group": item.group,
        "title": item.title,
        "classes": item.classes,
        "task": item.task,
        **item.sizes,
        "state": item.state,
        "problem": item.problem,
        "folders": [str(folder) for folder in item.folders],
        "expected": None if item.expected is None else str(item.expected),
        "lists": list(item.lists),
        "source": item.source,
        "licence": item.licence,
    }


def _print_table(found: Sequence[Whereabouts]) -> None:
    rows = [("name", "group", "classes", "train+val", "test", "state")]
    for item in found:
        place = f" {item.folders[0]}" if item.folders and item.state == HERE else ""
        classes = "masks" if item.task == SEGMENTATION else _count(item.classes)
        row = (item.name, item.group, classes, _training_text(item), _count(item.sizes["test"]), item.state + place)
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for name, group, *numbers, state in rows:
        aligned = [f"{text:>{width}}" for text, width in zip(numbers, widths[2:], strict=True)]
        out("  ".join([f"{name:<{widths[0]}}", f"{group:<{widths[1]}}", *aligned, state]))


def _training_text(item: Whereabouts) -> str:
    train, val, both = (item.sizes[key] for key in ("train", "val", "trainval"))
    if both == 0:
        return "-"  # a test set alone
    return f"{train:,}+{val:,}" if train and val else _count(both)


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _card(item: Whereabouts, differing: tuple[Path, ...]) -> str:
    lines = [f"{item.name}  {item.title}: {item.state}"]
    if item.state not in (HERE, MISSING):
        lines.append(f"  problem   {item.problem}")
    for position, folder in enumerate(item.folders):
        verdict = "other content: remove one" if folder in differing else "the same content"
        lines.append(f"  folder    {folder}" + (f" (not read: {verdict})" if position else ""))
    line = "images/x.jpg masks/x.png" if item.task == SEGMENTATION else "relative/path label"
    if item.state == MISSING:
        lines.append(f"  expected  {item.expected}" if item.expected else f"  missing   {item.problem}")
        lists = f"{' '.join(item.lists)}, lines `{line}`" if item.lists else "none: folders named by class"
        lines.append(f"  lists     {lists}")
        if item.expected and item.lists:
            lines.append(f"  convert   sweepboard data convert SOURCE --as {item.name}, where SOURCE has its splits")
    outputs = "masks" if item.task == SEGMENTATION else f"classes {_count(item.classes)}"
    word = "images" if item.state == HERE else "sizes"
    lines.append(
        f"  {word:<9} train+val {_training_text(item)}, test {_count(item.sizes['test'])}; "
        f"{outputs}; group {item.group}"
    )
    lines += [f"  {word:<9} {text}" for word, text in (("source", item.source), ("licence", item.licence)) if text]
    return "\n".join(lines)
