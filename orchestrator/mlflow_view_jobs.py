"""One run per job: MLflow is made to agree with the job's present state, whatever it showed before."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.mlflow_view_records import (
    CAUSE,
    JOB,
    KIND,
    RUN_STATUS,
    STATUS,
    SWEEP,
    RunRecord,
    curve,
    end_tags,
    experiment_name,
    job_record,
    last_points,
)
from orchestrator.mlflow_view_sweeps import SweepRuns, held_jobs
from orchestrator.mlflow_view_tracker import ShownRun, Tracker
from storage.records import Result, Status
from storage.store import JobState, Store, UnknownJob

_ATTACHED = ("delta", "log", "overlays")
_REMEMBERED = 100_000


@dataclass(frozen=True)
class Hint:
    """What the log says of a job and its present state does not. Times in seconds since the Unix epoch."""

    sweep: str | None
    started_s: float
    last_s: float
    cause: str = ""


@dataclass
class _Shown:
    """What was shown of a running attempt up to now, to save asking and sending. `unsent`: not shown yet."""

    run: ShownRun
    attempt: int
    unsent: RunRecord | None
    epochs: int = 0


class JobRuns:
    """Every attempt has a run of its own, and only the last one stays: a curve in MLflow cannot be taken back."""

    def __init__(self, store: Store, tracker: Tracker, home: Path, sweeps: SweepRuns) -> None:
        self._store, self._tracker, self._home, self._sweeps = store, tracker, home, sweeps
        self._shown: dict[str, _Shown] = {}
        self._final: set[tuple[str, int]] = set()  # (job, attempt) that can change no more

    def forget(self) -> None:
        self._shown.clear()
        self._final.clear()

    def show(self, job_id: str, hint: Hint) -> None:
        """Make the job's run say what the store says now. Raises TrackerError."""
        try:
            state = self._store.job(job_id)
        except UnknownJob:
            return  # removed by hand; the log still names it
        if state.status is Status.RUNNING:
            self._show_running(state, hint)
        elif state.result is not None:
            self._show_finished(state, state.result, hint)
        elif state.status is not Status.LEASED and state.attempts:
            self._show_ended(state, hint)

    def reap(self) -> None:
        """End the runs of jobs that nobody runs any more, or that ended unseen. Raises TrackerError."""
        held: dict[str, frozenset[str]] = {}
        for run in self._tracker.search(f"tags.`{KIND}` = 'job' and attributes.status = 'RUNNING'"):
            job_id, sweep = run.tags[JOB], run.tags.get(SWEEP)
            if sweep is not None and sweep not in held:
                held[sweep] = held_jobs(self._store, sweep)
            if sweep is None or job_id not in held[sweep]:
                now_s = time.time()
                self._reap(run, job_id, Hint(sweep, run.start_ms / 1000, now_s))

    def _reap(self, run: ShownRun, job_id: str, hint: Hint) -> None:
        try:
            status = self._store.job(job_id).status
        except UnknownJob:
            status = None
        if status in (None, Status.RUNNING, Status.LEASED):
            self._end_lost(run, "lost", "its driver is gone", hint.last_s)
            self._shown.pop(job_id, None)
        else:
            self.show(job_id, hint)

    def _show_running(self, state: JobState, hint: Hint) -> None:
        shown = self._run_of(state, hint)
        if shown.run.status != "RUNNING":
            self._tracker.reopen(shown.run)
            shown.run = replace(shown.run, status="RUNNING")
        epochs = self._store.epochs(state.job.job_id)
        self._tracker.log(shown.run, curve(epochs, shown.epochs), shown.unsent, {STATUS: state.status.value})
        shown.unsent = None
        shown.epochs = epochs[-1].epoch if epochs else 0

    def _show_finished(self, state: JobState, result: Result, hint: Hint) -> None:
        job_id = state.job.job_id
        if (job_id, state.attempts) in self._final:
            return
        shown = self._run_of(state, hint)
        points = [*curve(result.epochs, shown.epochs), *last_points(result)]
        self._tracker.log(shown.run, points, shown.unsent, end_tags(state.status, result))
        self._attach(shown.run, state, result)
        end_s = hint.last_s if "wall_s" not in result.metrics else shown.run.start_ms / 1000 + result.metrics["wall_s"]
        self._tracker.end(shown.run, RUN_STATUS[state.status], end_s)
        del self._shown[job_id]
        if len(self._final) >= _REMEMBERED:
            self._final.clear()
        self._final.add((job_id, state.attempts))

    def _show_ended(self, state: JobState, hint: Hint) -> None:
        """The attempt ended without a result; the next one gets a run of its own in place of this one."""
        run = self._tracker.find(job_record(state, None, None))
        if run is not None and run.status == "RUNNING":
            self._end_lost(run, state.status.value, hint.cause or "ended without a result", hint.last_s)
        self._shown.pop(state.job.job_id, None)

    def _end_lost(self, run: ShownRun, status: str, cause: str, end_s: float) -> None:
        self._tracker.log(run, [], None, {STATUS: status, CAUSE: cause})
        self._tracker.end(run, "KILLED", end_s)

    def _run_of(self, state: JobState, hint: Hint) -> _Shown:
        """The run of the present attempt, with all that is known of it from the start."""
        job = state.job
        shown = self._shown.get(job.job_id)
        if shown is not None and shown.attempt == state.attempts:
            return shown
        parent = None
        if hint.sweep is not None:
            parent = self._sweeps.parent(hint.sweep, experiment_name(job.dataset.name), hint.started_s).run_id
        record = job_record(state, hint.sweep, parent)
        run = self._tracker.ensure(record, hint.started_s)
        self._tracker.log_dataset(run, job.trained_on or job.dataset, job.train_split)
        if job.trained_on is not None:
            self._tracker.log_dataset(run, job.dataset, job.score_split)
        shown = self._shown[job.job_id] = _Shown(run, state.attempts, record)
        return shown

    def _attach(self, run: ShownRun, state: JobState, result: Result) -> None:
        self._tracker.log_text(run, json.dumps(state.job.to_json(), indent=1, sort_keys=True), "job.json")
        for role in _ATTACHED:
            path = self._home / result.files.get(role, "")
            if path.is_file():
                self._tracker.log_file(run, path, role)
