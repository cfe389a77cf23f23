"""`sweepboard leaderboard`: the results of one or more sweeps as a table that says what its numbers are.

The board goes to stdout (or to --out), everything else to stderr. Exit codes: 0 the board was written, complete or not;
2 no such sweep or suite; 4 there is nothing to show yet (no final or evaluate job is done).
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from methods.params import did_you_mean
from orchestrator.errors import EXIT_NOTHING, UsageError
from orchestrator.report import csv, json_, md, term
from orchestrator.report.board import Leaderboard, Place, place_of
from orchestrator.report.build import SCORED, leaderboard
from orchestrator.report.footer import coverage
from orchestrator.report.tuned import is_trial
from orchestrator.session import add_command, add_home_argument, note, open_session, pick_sweep
from storage.records import Phase
from storage.records.whole import written_whole
from storage.store import JobState
from workers.data.catalogue import LOCAL_SUITE, group_of, names
from workers.data.few_shot import few_shot
from workers.errors import WorkerError

FORMATS = ("term", "md", "csv", "json")


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "leaderboard", run, "the results of sweeps as a leaderboard")
    command.add_argument("sweeps", nargs="*", metavar="SWEEP", help="names of sweeps (default: the latest)")
    command.add_argument("--suite", help="only this suite of data sets (default: all)")
    command.add_argument("--format", choices=FORMATS, default="term")
    command.add_argument("--out", type=Path, metavar="FILE", help="write there instead of to stdout")
    command.add_argument("--no-costs", action="store_true", help="leave out what depends on the machine")
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    """Show the board; see the module for the exit codes."""
    with open_session(args) as session:
        if not session.store.sweeps():
            note("nothing to show: the store holds no sweep yet; `sweepboard run SPEC` makes one")
            return EXIT_NOTHING
        sweeps = list(dict.fromkeys(pick_sweep(session, name) for name in args.sweeps or [None]))
        states = [state for sweep in sweeps for state in session.store.jobs(sweep)]
    shown = [state for state in states if state.job.phase in SCORED or is_trial(state)]
    places = _places(state.job.dataset.name for state in shown)
    chosen = _of_suite(shown, places, args.suite)
    chosen += [state for state in states if state.job.phase is Phase.MEASURE]
    board = leaderboard(chosen, places, sweeps=sweeps, command=_command(args, sweeps))
    if board.done == 0:
        note(f"nothing to show: {coverage(board)}; `sweepboard status {shlex.quote(sweeps[0])}` says more")
        return EXIT_NOTHING
    if board.done < board.expected:
        note(f"incomplete: {coverage(board)}")
    text = _render(board.without_costs() if args.no_costs else board, args)
    if args.out is None:
        sys.stdout.write(text)
    else:
        _write(args.out, text)
        note(f"written: {args.out}")
    return 0


def _places(datasets: Iterable[str]) -> dict[str, Place]:
    """Where the suites' files put these data sets and the rest of their suites, in their order: a board must not depend
    on the presence of images. Raises UsageError where the user's own file of suites is wrong."""
    places: dict[str, Place] = {}
    try:
        known = {name: index for index, name in enumerate(names())}
        wanted = set(datasets)
        listed = {(name.partition("/")[0], few.suffix if (few := few_shot(name)) else "") for name in wanted}
        for suite, end in listed:
            if suite != LOCAL_SUITE:  # a person's folders are no benchmark
                wanted |= {f"{name}{end}" for name in known if name.partition("/")[0] == suite}
        for name in sorted(wanted, key=lambda name: (known.get(_base(name), len(known)), name)):
            group = group_of(name)
            if group is not None:
                places[name] = Place(_suite(name), group)
    except WorkerError as error:
        raise UsageError(str(error)) from error
    return places


def _base(name: str) -> str:
    few = few_shot(name)
    return few.base if few else name


def _suite(name: str) -> str:
    """Few-shot subsets are suites of their own, a suite per number of shots: `fgvc@5shot` has all draws."""
    few, suite = few_shot(name), name.partition("/")[0]
    return f"{suite}@{few.shots}shot" if few else suite


def _of_suite(finals: list[JobState], places: dict[str, Place], suite: str | None) -> list[JobState]:
    if suite is None:
        return finals
    suites = {name: place_of(name, places).suite for name in {state.job.dataset.name for state in finals}}
    if finals and suite not in suites.values():
        known = sorted(set(suites.values()))
        hint = did_you_mean(suite, known) or f" Known: {', '.join(known)}"
        raise UsageError(f"no final job belongs to suite {suite!r}.{hint}")
    return [state for state in finals if suites[state.job.dataset.name] == suite]


def _command(args: argparse.Namespace, sweeps: Sequence[str]) -> str:
    """What makes this board again; the home and the output file are the reader's own."""
    words = ["sweepboard", "leaderboard", *sweeps]
    words += ["--suite", args.suite] if args.suite else []
    words += ["--format", args.format] if args.format != "term" else []
    return shlex.join([*words, "--no-costs"] if args.no_costs else words)


def _render(board: Leaderboard, args: argparse.Namespace) -> str:
    writers: dict[str, Callable[[Leaderboard], str]] = {"md": md.render, "csv": csv.render, "json": json_.render}
    if args.format in writers:
        return writers[args.format](board)
    return term.render(board, _screen(to_file=args.out is not None))


def _screen(to_file: bool) -> term.Screen:
    if to_file or not sys.stdout.isatty():
        return term.Screen()
    return term.Screen(width=shutil.get_terminal_size().columns, styled=not os.environ.get("NO_COLOR"))


def _write(path: Path, text: str) -> None:
    try:
        with written_whole(path) as draft:
            draft.write_text(text, encoding="utf-8", newline="")
            draft.chmod(0o644)  # a board is there to be read by others
    except OSError as error:
        raise UsageError(f"--out: cannot write {path}: {error.strerror}; name a file in a folder you own") from error
