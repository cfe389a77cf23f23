"""Where a command works: the home folder, its store and its caches, opened once and named on the first line."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from methods.params import did_you_mean
from orchestrator.errors import UsageError
from storage.home import cache_dir, find_home, store_url
from storage.open import open_store
from storage.store import JobState, Store, UnknownJob, UnknownSweep

CACHE_BOUND = "SWEEPBOARD_CACHE_GIB"


@dataclass(frozen=True)
class Session:
    """An open home. `data_root` holds the user's data sets (SWEEPBOARD_DATA), `weights_root` weights files
    (SWEEPBOARD_WEIGHTS); None when there is none. `cache_gib`: what decoded images may take (SWEEPBOARD_CACHE_GIB)."""

    home: Path
    cache: Path
    data_root: Path | None
    store: Store
    weights_root: Path | None = None
    cache_gib: float | None = None


def add_home_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--home", type=Path, metavar="DIR", help="where everything is kept (default: $SWEEPBOARD_HOME or .sweepboard)"
    )


@contextmanager
def open_session(args: argparse.Namespace) -> Iterator[Session]:
    """The session a command works in; says on stderr which home it is."""
    env = dict(os.environ)
    if args.home is not None:
        env["SWEEPBOARD_HOME"] = str(args.home)
    home = find_home(Path.cwd(), env)
    print(f"home: {home}", file=sys.stderr)
    cache_gib = _cache_gib(env)
    store = open_store(store_url(home, env))
    data, weights = _folder(env, "SWEEPBOARD_DATA"), _folder(env, "SWEEPBOARD_WEIGHTS")
    try:
        yield Session(home, cache_dir(home, env), data, store, weights, cache_gib)
    finally:
        store.close()


def _folder(env: Mapping[str, str], variable: str) -> Path | None:
    named = env.get(variable)
    return Path(named).expanduser() if named else None


def _cache_gib(env: Mapping[str, str]) -> float | None:
    given = env.get(CACHE_BOUND)
    if not given:
        return None
    try:
        bound = float(given)
    except ValueError:
        bound = math.nan
    if not 0 <= bound < math.inf:
        raise UsageError(f"{CACHE_BOUND} is {given!r}; expected GiB, e.g. 50; 0 keeps no decoded images; correct it")
    return bound


def pick_sweep(session: Session, name: str | None) -> str:
    """The sweep of that name, or the latest one. Raises UsageError with the nearest name."""
    known = session.store.sweeps()
    if not known:
        raise UsageError("the store holds no sweep yet; `sweepboard run SPEC` makes one")
    if name is None:
        return known[-1]
    if name not in known:
        hint = did_you_mean(name, known) or f" Known: {', '.join(known[-5:])}."
        raise UsageError(f"no sweep {name!r} in this store.{hint}") from UnknownSweep(name)
    return name


def pick_job(session: Session, job_id: str) -> JobState:
    """The job of that id, or the only one whose id begins so. Raises UsageError."""
    try:
        return session.store.job(job_id)
    except UnknownJob as error:
        raise UsageError(str(error)) from error


def out(text: str = "") -> None:
    """Data for the user: to stdout."""
    print(text)


def note(text: str) -> None:
    """Anything else: to stderr."""
    print(text, file=sys.stderr)


def add_command(
    commands: argparse._SubParsersAction[Any], name: str, run: object, description: str
) -> argparse.ArgumentParser:
    """A sub-command with its help and the function that does it."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=description, description=description)
    command.set_defaults(run=run)
    return command
