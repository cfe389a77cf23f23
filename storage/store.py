"""The store protocol: what is remembered of sweeps, jobs, attempts and results, and what is promised about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from storage.records import ArtifactKey, EpochMetrics, Job, Lease, Result, Status, Trial, Tuned
from storage.snapshot import Absorbed, Snapshot


class StoreError(Exception):
    """Base of all errors of this package.

    StoreError
    ├── StoreUnavailable   the database cannot be opened or written (the message says what to do)
    ├── SchemaTooNew       the database was written by a newer Sweepboard
    ├── UnknownSweep       no sweep of that name
    ├── UnknownJob         no job of that id
    ├── StaleLease         a later attempt holds the job, or it is finished: nothing was written
    └── IllegalMove        the job's state does not allow the change: nothing was written
    """


class StoreUnavailable(StoreError):
    """The database cannot be opened, read or written."""


class SchemaTooNew(StoreError):
    """The database was written by a newer Sweepboard."""


class UnknownSweep(StoreError):
    """No sweep of that name."""


class UnknownJob(StoreError):
    """No job of that id."""


class StaleLease(StoreError):
    """A later attempt holds the job, or the job is finished; nothing was written."""


class IllegalMove(StoreError):
    """The job's state does not allow the change; nothing was written."""


@dataclass(frozen=True)
class Entry:
    """A job's place in a sweep. Lower `order` runs first; `row` is what the board calls it (label or stack); `tuned`
    says which search chose its values, if one did."""

    job: Job
    order: int
    row: str = ""
    resources: Mapping[str, float] = field(default_factory=dict)
    tuned: Tuned | None = None


@dataclass(frozen=True)
class SweepChange:
    """What saving a sweep did: ids of jobs new to the store, known to it already, and dropped from this sweep."""

    new: tuple[str, ...]
    known: tuple[str, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class JobState:
    """One job as the store sees it; `attempts` counts the leases ever given."""

    job: Job
    status: Status
    attempts: int
    row: str = ""
    result: Result | None = None
    tuned: Tuned | None = None


@dataclass(frozen=True)
class Event:
    """One line of the append-only log; ids grow. `kind`: "job_done", "job_failed", "lease", "progress" …"""

    event_id: int
    kind: str
    at_s: float
    job_id: str | None
    sweep: str | None
    data: Mapping[str, Any]


class Store(Protocol):
    """The truth. Every method is one transaction: it happens whole or not at all.

    Promises (checked by `storage.testing.StoreContract` on every implementation):
    adding twice adds once; a job is held by at most one valid lease; a stale lease writes nothing; a result of a
    finished job is never overwritten; a job is claimed only when all the artifacts it needs exist; an expired lease
    returns its job to pending and never to failed; events are appended in the same transaction as the change they
    tell.
    """

    def save_sweep(
        self, name: str, spec: str, entries: Sequence[Entry], studies: Sequence[str] | None = None
    ) -> SweepChange:
        """Make the sweep `name` consist of exactly these entries, and, where they are known, of the searches `studies`.
        Jobs that drop out keep their results."""

    def extend(self, sweep: str, entries: Sequence[Entry], trials: Sequence[Trial] = ()) -> tuple[Trial, ...]:
        """Add entries to the sweep and drop none; a job that is in it gets the new entry's place.

        `trials` are recorded with the jobs that they name; the answer has them as recorded. A number that its study
        has already stays as it is (the first one asked wins), and the job of the later one is not added. Raises
        UnknownSweep, StoreError when a trial names a job that neither the entries nor the store have."""

    def end_trials(self, trials: Sequence[Trial]) -> None:
        """Record how these trials ended for their studies (`Trial.end`). The first record of a trial stays; a trial
        that the store does not know is left out."""

    def trials(self, studies: Iterable[str]) -> list[Trial]:
        """The trials of those studies, by study and number; a study without any is unknown, which is no error."""

    def studies(self, sweep: str) -> tuple[str, ...]:
        """Studies that have a trial whose job is in the sweep, in the order of their jobs. Of a sweep that was saved
        with its searches no others, whoever else asked for its jobs. Raises UnknownSweep."""

    def sweeps(self) -> tuple[str, ...]:
        """Names of all sweeps, oldest first."""

    def spec(self, sweep: str) -> str:
        """The spec text last saved. Raises UnknownSweep."""

    def claim(
        self, sweep: str, owner: str, limit: int, ttl_s: float, only: Sequence[str] | None = None
    ) -> list[tuple[Entry, Lease]]:
        """Lease up to `limit` pending jobs of the sweep, in order, whose needs exist. Epochs grow by one.

        `only` restricts it to those job ids."""

    def start(self, lease: Lease) -> None:
        """leased -> running. Raises StaleLease."""

    def renew(self, leases: Sequence[Lease], ttl_s: float) -> dict[str, Lease]:
        """Extend leases; the answer holds only those still valid, by job id."""

    def leases(self, sweep: str) -> list[Lease]:
        """The leases that jobs of the sweep are held by now, whoever owns them. Raises UnknownSweep."""

    def expire(self) -> list[str]:
        """Return jobs whose lease ran out to pending; the ids of those jobs."""

    def release(self, lease: Lease, cause: str, *, counted: bool = False) -> None:
        """Give an unfinished job back to pending, with the cause in the log. Raises StaleLease.

        `counted` marks the attempt as the job's own failure."""

    def finish(self, lease: Lease, result: Result) -> None:
        """Record the result and its epochs, the artifact it made, and the job's final state. Raises StaleLease."""

    def record_epoch(self, lease: Lease, epoch: EpochMetrics) -> None:
        """Remember a running job's epoch (curves, pruning). A stale lease is ignored: progress is no truth."""

    def counted_failures(self, job_id: str) -> int:
        """How many attempts failed by the job's own fault."""

    def set_status(self, job_ids: Iterable[str], status: Status) -> list[str]:
        """Hold, un-hold (pending), cancel or retry (pending) jobs on request, a pruned one where somebody wants all of
        it; ids that changed. A done job never changes. Raises IllegalMove for states that only the loop may set."""

    def jobs(self, sweep: str | None = None, status: Status | None = None) -> list[JobState]:
        """Jobs in order, with results where there are any. Raises UnknownSweep."""

    def job(self, job_id: str) -> JobState:
        """One job; a unique prefix of its id is enough. Raises UnknownJob."""

    def known(self, job_ids: Iterable[str]) -> dict[str, Status]:
        """Status of those jobs that the store knows (the cache hits of a plan)."""

    def counts(self, sweep: str) -> dict[Status, int]:
        """Jobs of the sweep by status. Raises UnknownSweep."""

    def artifacts(self, keys: Iterable[ArtifactKey]) -> dict[str, str]:
        """key_id -> path (relative to the home) of those artifacts that exist."""

    def epochs(self, job_id: str) -> list[EpochMetrics]:
        """The curve of a job, finished or running."""

    def events(self, after: int = 0, limit: int = 1000, kind: str | None = None) -> list[Event]:
        """Events with an id above `after`, oldest first; `kind` leaves only those of that kind."""

    def append_event(self, kind: str, data: Mapping[str, Any], *, job_id: str | None = None) -> None:
        """Add a line of one's own to the log."""

    def snapshot(self, sweeps: Sequence[str] | None = None) -> Snapshot:
        """All that another store needs to know what this one knows; results come whole, with their curves.

        `sweeps` restricts it to those sweeps, with the jobs that made what they need. Raises UnknownSweep."""

    def absorb(self, snapshot: Snapshot) -> Absorbed:
        """Take in another store's snapshot; twice is once.

        A job that is done here, leased or running stays as it is; any other becomes done when it is done there.
        Sweeps gain members and lose none; the spec of a sweep that is here stays. Raises StoreError when a prepare
        job that is done there names no artifact."""

    def close(self) -> None:
        """Release the connections; the store is not used afterwards."""
