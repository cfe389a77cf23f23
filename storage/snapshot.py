"""What crosses from one store to another: sweeps, jobs with their places, and how the jobs ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from storage.records import Job, Result, Status, Trial, Tuned


@dataclass(frozen=True)
class Place:
    """Where a job stands in a sweep; the fields of `storage.store.Entry`."""

    sweep: str
    order: int
    row: str = ""
    resources: Mapping[str, float] = field(default_factory=dict)
    tuned: Tuned | None = None


@dataclass(frozen=True)
class Attempt:
    """The attempt that brought a result. Times in seconds since the Unix epoch, by the clock of its own store."""

    sweep: str
    owner: str
    leased_s: float
    started_s: float | None = None
    ended_s: float | None = None
    counted: bool = False


@dataclass(frozen=True)
class KeptJob:
    """A job as a store keeps it. `result` is whole, with its curve; result and attempt are None until it has ended."""

    job: Job
    status: Status
    places: tuple[Place, ...] = ()
    result: Result | None = None
    attempt: Attempt | None = None


@dataclass(frozen=True)
class Snapshot:
    """One state of a store, or of some of its sweeps. `specs`: sweep -> spec, oldest first; `jobs`: oldest first;
    `trials`: those of all studies that any of the jobs belongs to, by study and number; `studies`: sweep -> ids of its
    own searches, where they are known."""

    specs: Mapping[str, str]
    jobs: tuple[KeptJob, ...]
    trials: tuple[Trial, ...] = ()
    studies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Absorbed:
    """What absorbing a snapshot did, as ids and names.

    `new`: jobs that were unknown here. `ended`: jobs, known or not, whose outcome was taken. `busy`: jobs that were
    done there and are leased or running here, and were left alone. `sweeps`: new here. `widened`: sweeps of another
    spec here that gained jobs.
    """

    new: tuple[str, ...]
    ended: tuple[str, ...]
    busy: tuple[str, ...]
    sweeps: tuple[str, ...]
    widened: tuple[str, ...]
