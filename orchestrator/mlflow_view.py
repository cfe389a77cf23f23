"""The process that shows a store in MLflow: `python -m orchestrator.mlflow_view --home DIR --follow|--once|--prepare`.

The store is SWEEPBOARD_STORE, MLflow is MLFLOW_TRACKING_URI; else both lie in the home. With --follow it lives as long
as its standard input is open and tries again for as long as MLflow does not answer; it keeps nothing in memory
meanwhile (the store's events wait). Then it shows what is left, for a limited time.

Exit codes: 0 everything is shown; 3 not everything; 2 wrong usage; 5 the store or MLflow cannot be used.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from orchestrator.errors import EXIT_OK, EXIT_STORE, OrchestratorError, UsageError
from orchestrator.mlflow_view_cursor import cursor_path
from orchestrator.mlflow_view_follow import Follower, store_id
from orchestrator.mlflow_view_locks import try_lock
from orchestrator.mlflow_view_process import EXIT_LEFT, tracking_uri, without_password
from orchestrator.mlflow_view_tracker import Tracker, TrackerError, prepare_database
from orchestrator.session import note
from storage.home import store_url
from storage.open import open_store
from storage.store import StoreError

log = logging.getLogger("mlflow_view")
_T = TypeVar("_T")

_POLL_S, _LONGEST_POLL_S = 0.5, 2.0
_LONGEST_PAUSE_S = 30.0
_DRAIN_S = 30.0  # when the driver died and could not say how long
_SETTLE_SHARE = 20  # at most a twentieth of the time goes into summaries while jobs run
_TRIES = 3  # of --once, in a row without success
_NICE = 10  # jobs first


@dataclass(frozen=True)
class Place:
    """Where to read and where to write."""

    home: Path
    store: str
    uri: str

    def connect(self) -> Follower | None:
        """None as long as nothing happened in the store. Raises TrackerError, StoreError."""
        store = open_store(self.store)
        own = store_id(store)
        if own is None:
            store.close()
            return None
        return Follower(store, Tracker(self.uri, self.home, own), self.home, cursor_path(self.home, self.uri))

    def lock(self) -> IO[bytes] | None:
        """One view at a time writes to a tracker from this home; None when there is one."""
        return try_lock(cursor_path(self.home, self.uri).with_suffix(".lock"))


def prepare(place: Place) -> int:
    """Make the database that `place.uri` names, if it is a file."""
    prepare_database(place.uri, place.home)
    return EXIT_OK


def once(place: Place, *, rebuild: bool) -> int:
    """Show everything there is now, from the cursor or (rebuild) from the first event. Raises TrackerError …"""
    lock = _wait_for_lock(place)
    if lock is None:
        raise UsageError("a running sweep, or another sync, shows this store already; nothing to do until it ended")
    with lock:
        follower = _patiently(place.connect)
        if follower is not None:
            if rebuild:
                follower.rewind()
            _patiently(lambda: _catch_up(follower))
    shown, refused = (0, {}) if follower is None else (follower.cursor.event_id, follower.cursor.refused)
    note(f"{shown} events of the store are shown at {without_password(place.uri)}")
    for job_id, problem in refused.items():
        note(f"  not shown: job {job_id}: {problem}")
    return EXIT_LEFT if refused else EXIT_OK


def follow(place: Place, closing: threading.Event) -> int:
    """Show everything until `closing` is set and nothing is left."""
    while (lock := place.lock()) is None:
        if closing.wait(_LONGEST_POLL_S):
            return EXIT_OK  # another view is at work, and goes on
    with lock:
        follower, pace, failures = None, Pace(), 0
        while True:
            ending = closing.is_set()
            try:
                follower = follower or place.connect()
                pause_s = pace.turn(follower, ending)
                if ending:
                    return EXIT_LEFT if follower is not None and follower.cursor.refused else EXIT_OK
                failures = 0
            except (TrackerError, StoreError) as error:
                failures += 1
                pause_s = min(_LONGEST_PAUSE_S, 0.5 * 2**failures) * random.uniform(0.75, 1.25)
                log.warning("%s; again in %.1f s", error, pause_s)
            if ending:
                time.sleep(min(pause_s, _LONGEST_POLL_S))
            else:
                closing.wait(pause_s)


@dataclass
class Pace:
    """How much is done in one turn, and how long to rest after it."""

    idle_s: float = _POLL_S
    settle_at_s: float = 0.0
    reaped: bool = False

    def turn(self, follower: Follower | None, ending: bool) -> float:
        """Show a portion; the pause in seconds before the next one. Raises TrackerError, StoreError."""
        if follower is None:
            return _POLL_S
        if ending:
            _catch_up(follower)
            return 0.0
        moved = follower.step()
        if not moved and not self.reaped:
            follower.reap()
            self.reaped = True
        if time.monotonic() >= self.settle_at_s:
            began_s = time.monotonic()
            follower.settle()
            ended_s = time.monotonic()
            self.settle_at_s = ended_s + max(_LONGEST_POLL_S, _SETTLE_SHARE * (ended_s - began_s))
        self.idle_s = _POLL_S if moved else min(1.5 * self.idle_s, _LONGEST_POLL_S)
        return self.idle_s


def _catch_up(follower: Follower) -> None:
    while follower.step():
        log.debug("shown up to event %d", follower.cursor.event_id)
    follower.reap()
    follower.settle()


def _wait_for_lock(place: Place) -> IO[bytes] | None:
    deadline_s = time.monotonic() + 2 * _LONGEST_POLL_S
    while (lock := place.lock()) is None and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return lock


def _patiently(what: Callable[[], _T]) -> _T:
    """Do it, and again after a pause when the store or MLflow stumbles. Raises TrackerError, StoreError."""
    for attempt in range(1, _TRIES):
        try:
            return what()
        except (TrackerError, StoreError) as error:
            log.warning("%s; again in %d s", error, attempt)
            time.sleep(attempt)
    return what()


def _listen(closing: threading.Event) -> None:
    """Wait for `drain SECONDS` or the end of standard input; the process ends that many seconds later at the latest.

    Nothing is lost by a hard end: what was not confirmed is shown by the next view.
    """
    words = sys.stdin.readline().split()
    drain_s = float(words[1]) if len(words) == 2 and words[0] == "drain" else _DRAIN_S
    deadline = threading.Timer(drain_s, os._exit, (EXIT_LEFT,))
    deadline.daemon = True
    deadline.start()
    closing.set()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m orchestrator.mlflow_view", description="show a store in MLflow")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--store", help="URL or path (default: $SWEEPBOARD_STORE, else store.db in the home)")
    parser.add_argument("--mlflow", metavar="URI", help="default: $MLFLOW_TRACKING_URI, else mlflow.db in the home")
    parser.add_argument("--rebuild", action="store_true", help="with --once: from the first event")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--follow", action="store_true", help="until standard input ends")
    how.add_argument("--once", action="store_true", help="what there is now")
    how.add_argument("--prepare", action="store_true", help="only make the database")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one view; expected errors become a line on stderr and an exit code."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    try:
        uri = tracking_uri(args.home, args.mlflow, os.environ)
        place = Place(args.home.absolute(), args.store or store_url(args.home.absolute(), os.environ), uri)
        if args.prepare:
            return prepare(place)
        if args.once:
            return once(place, rebuild=args.rebuild)
        os.nice(_NICE)
        closing = threading.Event()
        threading.Thread(target=_listen, args=(closing,), name="closing", daemon=True).start()
        return follow(place, closing)
    except OrchestratorError as error:
        note(str(error))
        return error.exit_code
    except (TrackerError, StoreError) as error:
        note(f"{error}\nNothing is lost: `sweepboard mlflow sync` goes on from here.")
        return EXIT_STORE


if __name__ == "__main__":
    sys.exit(main())
