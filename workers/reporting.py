"""How a running job says that it is alive, and learns that it must stop."""

from __future__ import annotations

import time

from storage.records import EpochMetrics, Job, Lease
from workers.pools.protocol import Progress, Verdict
from workers.site import Report

_LEAST_INTERVAL_S = 0.2


class Stopped(Exception):
    """The report was answered with STOP; run_job turns it into a cancelled result. No error: nothing went wrong."""


class Reporter:
    """Passes progress on, at most five times a second, and not in the first fifth of a second: the result of a job that
    short says all there is. Every call may raise Stopped.

    Epochs that follow each other faster are held back, and passed on together, in order, when the time has come; the
    last ones of a job that ends well stand in its result, those of any other are passed on by `flush`.

    CHECKPOINT is taken as CONTINUE: jobs are short, and a job that is interrupted is run again from its start.
    """

    def __init__(self, job: Job, lease: Lease, report: Report) -> None:
        self._job_id, self._lease_epoch, self._report = job.job_id, lease.epoch, report
        self._started_s = self._last_s = time.monotonic()
        self._held: list[tuple[EpochMetrics, int]] = []

    def step(self, stage: str, done: int, total: int) -> bool:
        """Say where the stage stands; whether it was passed on (the moment to look at values on the device)."""
        if not self._is_due():
            return False
        self.flush()
        self._pass_on(Progress(self._job_id, self._lease_epoch, stage, done, total))
        return True

    def epoch(self, epoch: int, metrics: dict[str, float], total: int) -> EpochMetrics:
        """Say what a finished epoch (1-based, of `total`) measured."""
        record = EpochMetrics(epoch, metrics, time.monotonic() - self._started_s)
        self._held.append((record, total))
        if self._is_due():
            self.flush()
        return record

    def flush(self) -> None:
        """Pass on the epochs that were held back."""
        while self._held:
            record, total = self._held.pop(0)
            self._pass_on(Progress(self._job_id, self._lease_epoch, "train", record.epoch, total, record))

    def _is_due(self) -> bool:
        return time.monotonic() - self._last_s >= _LEAST_INTERVAL_S

    def _pass_on(self, progress: Progress) -> None:
        self._last_s = time.monotonic()
        if self._report(progress) == Verdict.STOP:
            raise Stopped
