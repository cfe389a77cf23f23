"""The inline pool: one slot, one background thread of this very process; breakpoints work, nothing is forked."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable, Sequence

from storage.records import Failure, FailureClass, Job, Lease, Result
from workers.bundle import Bundle
from workers.pools.protocol import Done, Lost, PoolError, PoolEvent, Progress, Request, Verdict, Work
from workers.site import Report

Runner = Callable[[Job, Lease, Report, Bundle | None], Result]
"""Runs one job to its end; `workers.run.run_job` with its site filled in. Must not raise."""

_CLOSE_GRACE_S = 5.0


class InlinePool:
    """Runs one job at a time in a thread, so that the loop can renew leases and draw progress meanwhile.

    A thread cannot be ended by force: a cancelled job goes on until its next report.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._events: queue.Queue[PoolEvent] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._held: set[str] = set()  # jobs of the slot that have not ended
        self._stopped: set[str] = set()
        self._closed = False

    @property
    def free_slots(self) -> int:
        return 0 if self._closed or self._held else 1

    def feasible(self, request: Request) -> str | None:
        """Anything is: requests are ignored."""
        return None

    def submit(self, job: Job, lease: Lease, request: Request, then: Sequence[Work] = ()) -> None:
        """Start the job at once. What it requests is ignored: the one slot has what this process has."""
        if self._closed:
            raise PoolError("the pool is closed")
        if self._held:
            raise PoolError(f"no free slot: job {' '.join(sorted(self._held))} is running")
        work = [(job, lease), *then]
        self._held, self._stopped = {one.job_id for one, _ in work}, set()
        self._thread = threading.Thread(target=self._run, args=(work,), name=f"job-{job.job_id}", daemon=True)
        self._thread.start()

    def _run(self, work: Sequence[Work]) -> None:
        bundle = Bundle(tuple(job for job, _ in work)) if len(work) > 1 else None
        for job, lease in work:
            if not self._closed:
                self._events.put(self._end_of(job, lease, bundle))

    def _end_of(self, job: Job, lease: Lease, bundle: Bundle | None) -> PoolEvent:
        try:
            result = self._runner(job, lease, self._report, bundle)
            return Done(job.job_id, lease.epoch, result, slot="inline")
        except BaseException as error:
            detail = traceback.format_exc(limit=-20)
            message = f"the runner raised {type(error).__name__}: {error}"
            failure = Failure(FailureClass.CRASH, message, detail)
            return Lost(job.job_id, lease.epoch, failure, slot="inline")

    def _report(self, progress: Progress) -> Verdict:
        if self._closed:
            return Verdict.STOP
        self._events.put(progress)
        return Verdict.STOP if progress.job_id in self._stopped else Verdict.CONTINUE

    def next_event(self, timeout_s: float) -> PoolEvent | None:
        try:
            event = self._events.get(timeout=timeout_s) if timeout_s > 0 else self._events.get_nowait()
        except queue.Empty:
            return None
        if isinstance(event, Done | Lost):
            self._held.discard(event.job_id)
            if self._thread is not None and not self._held:
                self._thread.join()
                self._thread = None
        return event

    def cancel(self, job_id: str, grace_s: float) -> None:
        if job_id in self._held:
            self._stopped.add(job_id)

    def close(self) -> None:
        self._closed = True
        if self._thread is not None:
            self._thread.join(_CLOSE_GRACE_S)
