"""The inline pool: one slot, one background thread of this very process; breakpoints work, nothing is forked."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable

from storage.records import Failure, FailureClass, Job, Lease, Result
from workers.pools.protocol import Done, Lost, PoolError, PoolEvent, Progress, Request, Verdict
from workers.site import Report

Runner = Callable[[Job, Lease, Report], Result]
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
        self._job_id: str | None = None
        self._stop = threading.Event()
        self._closed = False

    @property
    def free_slots(self) -> int:
        return 0 if self._closed or self._job_id is not None else 1

    def feasible(self, request: Request) -> str | None:
        """Anything is: requests are ignored."""
        return None

    def submit(self, job: Job, lease: Lease, request: Request) -> None:
        """Start the job at once. What it requests is ignored: the one slot has what this process has."""
        if self._closed:
            raise PoolError("the pool is closed")
        if self._job_id is not None:
            raise PoolError(f"no free slot: job {self._job_id} is running")
        self._stop.clear()
        self._job_id = job.job_id
        self._thread = threading.Thread(target=self._run, args=(job, lease), name=f"job-{job.job_id}", daemon=True)
        self._thread.start()

    def _run(self, job: Job, lease: Lease) -> None:
        try:
            result = self._runner(job, lease, self._report)
            self._events.put(Done(job.job_id, lease.epoch, result, slot="inline"))
        except BaseException as error:
            detail = traceback.format_exc(limit=-20)
            message = f"the runner raised {type(error).__name__}: {error}"
            failure = Failure(FailureClass.CRASH, message, detail)
            self._events.put(Lost(job.job_id, lease.epoch, failure, slot="inline"))

    def _report(self, progress: Progress) -> Verdict:
        if not self._closed:
            self._events.put(progress)
        return Verdict.STOP if self._stop.is_set() else Verdict.CONTINUE

    def next_event(self, timeout_s: float) -> PoolEvent | None:
        try:
            event = self._events.get(timeout=timeout_s) if timeout_s > 0 else self._events.get_nowait()
        except queue.Empty:
            return None
        if isinstance(event, Done | Lost):
            if self._thread is not None:
                self._thread.join()
            self._thread, self._job_id = None, None
        return event

    def cancel(self, job_id: str, grace_s: float) -> None:
        if job_id == self._job_id:
            self._stop.set()

    def close(self) -> None:
        self._closed = True
        self._stop.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_GRACE_S)
