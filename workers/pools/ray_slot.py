"""What lives inside a slot's process: it runs one job at a time and streams what the job says. Knows no Ray."""

from __future__ import annotations

import os
import queue
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from storage.records import Job, Lease, Result
from workers.bundle import Bundle
from workers.devices import resolved
from workers.pools.inline import Runner
from workers.pools.protocol import Progress, Verdict, Work
from workers.site import Report, Site


@dataclass(frozen=True)
class SiteRunner:
    """`workers.run.run_job` at this site. It travels to the slots as two words and a site: torch loads there, on the
    first job, and never in the driver."""

    site: Site

    def __call__(self, job: Job, lease: Lease, report: Report, bundle: Bundle | None = None) -> Result:
        from workers.run import run_job

        return run_job(job, lease, replace(self.site, device=resolved(self.site.device)), report, bundle)


@dataclass(frozen=True)
class Begun:
    """The job is in its process now; what was said before was only waiting."""

    host: str
    pid: int


class JobSlot:
    """The actor. The job runs in a thread that lives as long as the slot; Ray's own thread streams its words."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="job")
        self._stopped: set[tuple[str, int]] = set()

    def run(self, work: Sequence[Work]) -> Iterator[Begun | Progress | Result]:
        """Begun; then of one job after the other every Progress in order, and its result. Raises what the runner
        raises."""
        yield Begun(socket.gethostname(), os.getpid())
        bundle = Bundle(tuple(job for job, _ in work)) if len(work) > 1 else None
        for job, lease in work:
            yield from self._run_one(job, lease, bundle)

    def _run_one(self, job: Job, lease: Lease, bundle: Bundle | None) -> Iterator[Progress | Result]:
        said: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()
        attempt = (job.job_id, lease.epoch)

        def report(progress: Progress) -> Verdict:
            said.put(progress)
            return Verdict.STOP if attempt in self._stopped else Verdict.CONTINUE

        future = self._thread.submit(self._runner, job, lease, report, bundle)
        future.add_done_callback(lambda _: said.put(None))
        while (progress := said.get()) is not None:
            yield progress
        self._stopped.discard(attempt)
        yield future.result()

    def stop(self, job_id: str, lease_epoch: int) -> None:
        """Answer this attempt's next report with STOP; it may come before the attempt does. Runs beside `run`."""
        self._stopped.add((job_id, lease_epoch))
