"""A sweep's own runs in MLflow: the parent of its jobs, and one summary per complete (row, data set)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.mlflow_view_records import (
    JOB,
    KIND,
    PREFIX,
    Point,
    experiment_name,
    member_tag,
    summaries,
    sweep_record,
)
from orchestrator.mlflow_view_tracker import ShownRun, Tracker
from orchestrator.owners import is_dead
from storage.records import Status, digest
from storage.store import JobState, Store, UnknownSweep

_SPEC = f"{PREFIX}.spec"
_LEASE_MARGIN_S = 60.0
"""Beyond its end a lease of another host is believed this long: clocks differ, and drivers are late."""


def held_jobs(store: Store, sweep: str) -> frozenset[str]:
    """Ids of the sweep's jobs that somebody who may be alive is running."""
    try:
        leases = store.leases(sweep)
    except UnknownSweep:
        return frozenset()
    now_s = time.time() - _LEASE_MARGIN_S
    return frozenset(lease.job_id for lease in leases if lease.expires_s > now_s and not is_dead(lease.owner))


class SweepRuns:
    """Remembers what it has shown, to save asking; forgetting it costs time only."""

    def __init__(self, store: Store, tracker: Tracker) -> None:
        self._store, self._tracker = store, tracker
        self._parents: dict[tuple[str, str], ShownRun] = {}
        self._summarised: set[tuple[str, str]] = set()

    @property
    def experiments(self) -> set[str]:
        """Names of those that parents were shown in."""
        return {experiment for _, experiment in self._parents}

    def forget(self) -> None:
        self._parents.clear()
        self._summarised.clear()

    def parent(self, sweep: str, experiment: str, at_s: float) -> ShownRun:
        """The sweep's run in that experiment; a new one begins `at_s` (since the Unix epoch)."""
        if (sweep, experiment) not in self._parents:
            try:
                spec = self._store.spec(sweep)
            except UnknownSweep:
                spec = ""
            record = sweep_record(sweep, experiment, spec)
            run = self._tracker.ensure(record, at_s)
            if run.tags.get(_SPEC) != digest(spec):
                self._tracker.log_text(run, spec, "spec.yaml")
                self._tracker.log(run, [], record, {_SPEC: digest(spec)})
            self._parents[sweep, experiment] = run
        return self._parents[sweep, experiment]

    def settle(self, sweep: str, saved: bool) -> None:
        """Bring parents and summaries up to date; `saved`: its spec and its members may have changed too."""
        try:
            states = self._store.jobs(sweep)
        except UnknownSweep:
            return
        if saved:
            self._parents = {key: run for key, run in self._parents.items() if key[0] != sweep}
        shown = [state for state in states if state.attempts]
        experiments = sorted({experiment_name(state.job.dataset.name) for state in shown})
        parents = {one: self.parent(sweep, one, time.time()).run_id for one in experiments}
        self._summarise(sweep, shown, parents)
        if saved:
            self._tag_members(sweep, {state.job.job_id for state in shown})
        status = self._status(sweep, states)
        for experiment in experiments:
            self._set_status((sweep, experiment), status)

    def _summarise(self, sweep: str, states: Iterable[JobState], parents: dict[str, str]) -> None:
        for summary in summaries(sweep, states, parents):
            key = (summary.record.key, summary.record.version)
            if key in self._summarised:
                continue
            run = self._tracker.ensure(summary.record, time.time())
            if run.status == "RUNNING":  # new, or left half written
                points = [Point(name, value, 0, 0.0) for name, value in summary.metrics.items()]
                self._tracker.log(run, points, summary.record, {})
                self._tracker.end(run, "FINISHED", run.start_ms / 1000)
            self._summarised.add(key)

    def _tag_members(self, sweep: str, members: set[str]) -> None:
        """Jobs that another sweep ran belong to this one too; their runs stay where they are."""
        for run in self._tracker.search(f"tags.`{KIND}` = 'job' and tags.`{member_tag(sweep)}` IS NULL"):
            if run.tags.get(JOB) in members:
                self._tracker.log(run, [], None, {member_tag(sweep): "yes"})

    def _status(self, sweep: str, states: Sequence[JobState]) -> str:
        found = {state.status for state in states}
        if not all(status.is_finished for status in found) and held_jobs(self._store, sweep):
            return "RUNNING"
        if Status.FAILED in found:
            return "FAILED"
        return "FINISHED" if all(status.is_finished for status in found) else "KILLED"

    def _set_status(self, key: tuple[str, str], status: str) -> None:
        run = self._parents[key]
        if run.status == status:
            return
        if status == "RUNNING":
            self._tracker.reopen(run)
        else:
            self._tracker.end(run, status, time.time())
        self._parents[key] = replace(run, status=status)
