"""`sweepboard data check`: can numbers on these data sets be trusted?

Exit codes: 0 all can; 2 no such data set, or it is not here; 4 nothing to check; 8 at least one cannot be trusted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from orchestrator.errors import EXIT_DATA, EXIT_NOTHING, EXIT_OK, UsageError
from orchestrator.session import Session, add_command, add_home_argument, note, open_session, out
from workers.data.catalogue import EMBEDDED_SUITE, dataset_folder, expand, names
from workers.errors import WorkerError

if TYPE_CHECKING:
    from workers.data.check import DataReport

_TOLD_EVERY = 500  # images


def add(subcommands: argparse._SubParsersAction[Any]) -> None:
    """Adds `check` to the actions of `sweepboard data`."""
    text = "whether numbers on data sets can be trusted: lists, labels, damaged files, leaks between splits, JPEG"
    command = add_command(subcommands, "check", run, text)
    command.add_argument(
        "patterns",
        nargs="*",
        metavar="NAME",
        help="names, globs, @suite/* or @suite/group (default: all that are here)",
    )
    command.add_argument("--json", action="store_true", help="machine-readable")
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    try:
        from workers.data.check import check_dataset
    except ModuleNotFoundError as error:
        raise UsageError(f"checking images needs {error.name}: pip install 'sweepboard[train]'") from None
    reports = []
    with open_session(args) as session:
        for name in _names(session, args.patterns):
            try:
                report = check_dataset(name, session.data_root, session.cache, _teller(name))
            except WorkerError as error:
                raise UsageError(str(error)) from None
            reports.append(report)
            if not args.json:
                _print(report)
    if not reports:
        note("nothing to check: no data set is here; SWEEPBOARD_DATA names the folder that holds them")
        return EXIT_NOTHING
    if args.json:
        out(json.dumps({"version": 1, "datasets": [_record(report) for report in reports]}, indent=1))
    return EXIT_OK if all(report.is_trusted for report in reports) else EXIT_DATA


def _names(session: Session, patterns: Sequence[str]) -> tuple[str, ...]:
    """Data sets that are meant, each once. Raises UsageError."""
    try:
        if not patterns:
            return tuple(_here(session))
        return tuple(dict.fromkeys(name for pattern in patterns for name in _meant(session, pattern)))
    except WorkerError as error:
        raise UsageError(str(error)) from None


def _here(session: Session) -> Iterator[str]:
    for name in names(session.data_root):
        if not name.startswith(f"{EMBEDDED_SUITE}/"):
            try:
                dataset_folder(name, session.data_root)
            except WorkerError:
                continue  # not here; `data where` tells how to get it
            yield name


def _meant(session: Session, pattern: str) -> tuple[str, ...]:
    """A glob means what is here. A plain name stands for itself: its lists may be too broken for `expand`."""
    if pattern.startswith("@"):
        return expand(pattern, session.data_root)
    if not any(sign in pattern for sign in "*?["):
        return (pattern,)
    found = tuple(name for name in _here(session) if fnmatchcase(name, pattern))
    if not found:
        raise UsageError(f"{pattern!r} matches no data set that is here; `sweepboard data list` shows them")
    return found


def _teller(name: str) -> Callable[[int, int], None]:
    """Tells a person at a terminal how far the look at the files is."""

    def told(done: int, total: int) -> None:
        if sys.stderr.isatty() and done % _TOLD_EVERY == 0:
            note(f"  {name}: {done:,} of {total:,} images")

    return told


def _print(report: DataReport) -> None:
    verdict = "can be trusted" if report.is_trusted else "CANNOT be trusted"
    out(f"{report.name}  {verdict}  {report.data_hash[:16] or 'content has no name'}")
    for finding in report.findings:
        out(f"  {finding.level:<8} {finding.what}")
        for line in (finding.where and f"in {finding.where}", finding.advice):
            if line:
                out(f"  {'':<8} {line}")


def _record(report: DataReport) -> dict[str, object]:
    return {
        "name": report.name,
        "data_hash": report.data_hash,
        "trusted": report.is_trusted,
        "findings": [asdict(finding) for finding in report.findings],
    }
