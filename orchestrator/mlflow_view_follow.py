"""Following the store: what changed since the cursor is read again, and MLflow is made to agree with it.

The store's events say only *which* jobs changed; what is shown is their present state. So an event may be seen twice,
several may be shown as one, and a view may be killed anywhere: the next one begins at the cursor and ends the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from orchestrator.mlflow_view_cursor import Cursor, read_cursor, write_cursor
from orchestrator.mlflow_view_jobs import Hint, JobRuns
from orchestrator.mlflow_view_sweeps import SweepRuns
from orchestrator.mlflow_view_tracker import Tracker, TrackerRefuses
from storage.records import digest
from storage.store import Event, Store

log = logging.getLogger(__name__)

_PORTION = 500  # events read at once


def store_id(store: Store) -> str | None:
    """What tells this store from others that write to one MLflow: its first event. None when nothing happened yet."""
    first = store.events(limit=1)
    return digest([first[0].event_id, first[0].at_s, first[0].kind, first[0].sweep]) if first else None


class Follower:
    """Shows one store in one MLflow; the cursor file says how far.

    Each method may raise TrackerUnavailable or StoreError: call it again later.
    """

    def __init__(self, store: Store, tracker: Tracker, home: Path, cursor_file: Path) -> None:
        self._store, self._tracker, self._file = store, tracker, cursor_file
        self._sweeps = SweepRuns(store, tracker)
        self._jobs = JobRuns(store, tracker, home, self._sweeps)
        self.cursor = self._checked(read_cursor(cursor_file, store_id(store) or ""))

    def rewind(self) -> None:
        """Begin at the first event again."""
        self.cursor = Cursor(self.cursor.store_id)

    def step(self) -> bool:
        """Show the next portion of events; False when there was none."""
        before = self.cursor
        events = self._store.events(after=before.event_id, limit=_PORTION)
        if not events:
            return False
        due, refused = dict(before.due), dict(before.refused)
        for event in events:
            if event.sweep is not None:
                due[event.sweep] = due.get(event.sweep, False) or event.kind in ("sweep_saved", "sweep_extended")
        for job_id, hint in _hints(events).items():
            refused.pop(job_id, None)
            problem = self._show(job_id, hint)
            if problem is not None:
                refused[job_id] = problem
            if self.cursor is not before:
                return True  # MLflow was emptied meanwhile: from the beginning
        self._save(replace(before, event_id=events[-1].event_id, due=due, refused=refused))
        return True

    def settle(self) -> None:
        """Bring the runs of sweeps that changed up to date."""
        before = self.cursor
        for sweep, saved in before.due.items():
            try:
                self._sweeps.settle(sweep, saved)
            except TrackerRefuses as error:
                log.error("sweep %s is not summarised: %s", sweep, error)
                self._forget()
                if self.cursor is not before:
                    return
        if before.due:
            self._save(replace(before, due={}))

    def reap(self) -> None:
        """End the runs of jobs that nobody runs any more."""
        try:
            self._jobs.reap()
        except TrackerRefuses as error:  # a run that was deleted by hand just now
            log.warning("%s", error)
            self._forget()

    def _show(self, job_id: str, hint: Hint) -> str | None:
        """Show the job; if MLflow refuses it twice, why: the first time a run may have been deleted by hand."""
        for last_try in (False, True):
            try:
                self._jobs.show(job_id, hint)
                return None
            except TrackerRefuses as error:
                self._forget()
                if last_try:
                    log.error("job %s is not shown: %s", job_id, error)
                    return str(error)
        return None

    def _forget(self) -> None:
        self._jobs.forget()
        self._sweeps.forget()
        self._tracker.forget()
        checked = self._checked(self.cursor)
        if checked is not self.cursor:
            self._save(checked)

    def _checked(self, cursor: Cursor) -> Cursor:
        """From the beginning when the store's log, or MLflow, is not the one that the cursor was written for."""
        there = self._tracker.experiments()
        emptied = any(there.get(name) != what for name, what in cursor.experiments.items())
        behind = cursor.event_id > 0 and not self._store.events(after=cursor.event_id - 1, limit=1)
        if emptied or behind:
            log.warning("%s was replaced: everything is shown again", "MLflow's database" if emptied else "the store")
            return Cursor(cursor.store_id)
        return cursor

    def _save(self, cursor: Cursor) -> None:
        if not self._sweeps.experiments <= cursor.experiments.keys():
            cursor = replace(cursor, experiments=self._tracker.experiments())
        write_cursor(self._file, cursor)
        self.cursor = cursor


def _hints(events: Iterable[Event]) -> dict[str, Hint]:
    """Job -> what these events say of it, in the order in which the jobs first appear."""
    hints: dict[str, Hint] = {}
    for event in events:
        if event.job_id is None:
            continue
        known = hints.get(event.job_id) or Hint(None, event.at_s, event.at_s)
        hints[event.job_id] = Hint(
            sweep=event.sweep or known.sweep,
            started_s=event.at_s if event.kind == "job_running" else known.started_s,
            last_s=event.at_s,
            cause=str(event.data.get("cause", known.cause)),
        )
    return hints
