"""What runs in a slot of the Ray pool: a job, and those that the slot runs after it. Knows no Ray."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from storage.records import Failure, Result, Status
from workers.pools.protocol import Done, Lost, PoolEvent, left_behind


@dataclass
class Attempt:
    """A job in a slot; `kill_at_s` is set once it shall stop (monotonic seconds). `behind`: (job id, lease epoch) of
    those that come after it; `graces_s`: by job id, of those among them that shall stop."""

    job_id: str
    lease_epoch: int
    stream: Any  # ObjectRefGenerator of Begun, then of each job Progress …, Result
    submitted_s: float
    behind: list[tuple[str, int]] = field(default_factory=list)
    begun: bool = False
    kill_at_s: float | None = None
    graces_s: dict[str, float] = field(default_factory=dict)

    def stop(self, job_id: str, grace_s: float) -> int | None:
        """Take in that a job shall stop; the epoch of its lease, or None where it is not here."""
        if job_id == self.job_id:
            self.kill_at_s = time.monotonic() + grace_s
            return self.lease_epoch
        epoch = dict(self.behind).get(job_id)
        if epoch is not None:
            self.graces_s[job_id] = grace_s
        return epoch

    def next(self) -> None:
        """The one that ran has ended, and the next one's turn has come."""
        self.job_id, self.lease_epoch = self.behind.pop(0)
        grace_s = self.graces_s.pop(self.job_id, None)
        self.kill_at_s = None if grace_s is None else time.monotonic() + grace_s

    def cancelled(self, slot: str) -> Done:
        """The end of the one that runs, by force."""
        return Done(self.job_id, self.lease_epoch, Result(job_id=self.job_id, status=Status.CANCELLED), slot)

    def lost(self, failure: Failure, slot: str) -> PoolEvent:
        """The end of the one that runs, when its slot died: as asked, or of that failure."""
        return (
            self.cancelled(slot) if self.kill_at_s is not None else Lost(self.job_id, self.lease_epoch, failure, slot)
        )

    def left_behind(self, slot: str) -> list[PoolEvent]:
        """The ends of those whose turn never comes."""
        with_it, found = self.job_id, list[PoolEvent]()
        while self.behind:
            self.next()
            if self.kill_at_s is None:
                found.append(left_behind(self.job_id, self.lease_epoch, with_it, slot))
            else:
                found.append(self.cancelled(slot))
        return found
