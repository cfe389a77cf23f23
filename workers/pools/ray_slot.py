"""What lives inside a slot's process: it runs one job at a time and streams what the job says. Knows no Ray."""

from __future__ import annotations

import os
import queue
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from storage.records import Job, Lease, Result
from workers.devices import resolved
from workers.pools.inline import Runner
from workers.pools.protocol import Progress, Verdict
from workers.site import Report, Site


@dataclass(frozen=True)
class SiteRunner:
    """`workers.run.run_job` at this site. It travels to the slots as two words and a site: torch loads there, on the
    first job, and never in the driver."""

    site: Site

    def __call__(self, job: Job, lease: Lease, report: Report) -> Result:
        from workers.run import run_job

        return run_job(job, lease, replace(self.site, device=resolved(self.site.device)), report)


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
        self._stopped: tuple[str, int] | None = None

    def run(self, job: Job, lease: Lease) -> Iterator[Begun | Progress | Result]:
        """Begun, every Progress in order, then the result. Raises what the runner raises."""
        yield Begun(socket.gethostname(), os.getpid())
        said: queue.SimpleQueue[Progress | None] = queue.SimpleQueue()

        def report(progress: Progress) -> Verdict:
            said.put(progress)
            return Verdict.STOP if self._stopped == (job.job_id, lease.epoch) else Verdict.CONTINUE

        future = self._thread.submit(self._runner, job, lease, report)
        future.add_done_callback(lambda _: said.put(None))
        while (progress := said.get()) is not None:
            yield progress
        yield future.result()

    def stop(self, job_id: str, lease_epoch: int) -> None:
        """Answer this attempt's next report with STOP; it may come before the attempt does. Runs beside `run`."""
        self._stopped = (job_id, lease_epoch)
