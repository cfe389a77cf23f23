"""What a pool of slots promises to the loop, and the words in which they talk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from storage.records import EpochMetrics, Failure, FailureClass, Job, Lease, Result


class PoolError(Exception):
    """Base of the errors of pools; raised only for misuse (submit after close, more jobs than slots)."""


class Verdict(StrEnum):
    """What `report` answers to a running job."""

    CONTINUE = "continue"
    CHECKPOINT = "checkpoint"  # save, then go on
    STOP = "stop"  # save if it can be resumed, then end with status cancelled


@dataclass(frozen=True)
class Progress:
    """A running job is alive. `done` of `total` steps of the current stage ("load", "score", "train", "evaluate" …)."""

    job_id: str
    lease_epoch: int
    stage: str
    done: int = 0
    total: int = 0
    epoch: EpochMetrics | None = None


@dataclass(frozen=True)
class Done:
    """The job came to an end that run_job classified: result.status is done, failed or cancelled."""

    job_id: str
    lease_epoch: int
    result: Result
    slot: str = ""


@dataclass(frozen=True)
class Lost:
    """The job never came back: its process, actor or node is gone. The failure class says how."""

    job_id: str
    lease_epoch: int
    failure: Failure
    slot: str = ""


PoolEvent = Progress | Done | Lost

Work = tuple[Job, Lease]


def left_behind(job_id: str, lease_epoch: int, lost: str, slot: str = "") -> Lost:
    """The end of a job whose slot was lost before its turn came, with job `lost`."""
    message = f"its slot ended with job {lost}, before its own turn came"
    return Lost(job_id, lease_epoch, Failure(FailureClass.TRANSIENT, message), slot)


@dataclass(frozen=True)
class Request:
    """What a job asks of a slot; execution details, not part of the job's identity. `mem_mib` 0: nobody knows yet."""

    cpus: float = 1
    gpus: float = 0
    extra: dict[str, float] = field(default_factory=dict)
    mem_mib: float = 0

    @classmethod
    def of(cls, resources: Mapping[str, float]) -> Request:
        """What an entry's `resources` ask for; a job that says nothing takes one CPU."""
        mem_mib = resources.get("memory_gib", 0) * 1024
        return cls(cpus=resources.get("cpus", 1), gpus=resources.get("gpus", 0), mem_mib=mem_mib)


class Pool(Protocol):
    """Runs jobs in slots. Events of one job come in order; every submitted job ends in exactly one Done or Lost."""

    @property
    def free_slots(self) -> int:
        """How many more jobs can be submitted now."""

    def feasible(self, request: Request) -> str | None:
        """None when a slot of the pool could ever have this; else why not, with the nearest that fits."""

    def submit(self, job: Job, lease: Lease, request: Request, then: Sequence[Work] = ()) -> None:
        """Hand the job to a free slot, which then runs the others one by one; it is free when the last has ended.

        Where the slot is lost, those that had not begun are Lost as transient. Raises PoolError when there is no free
        slot or the pool is closed."""

    def next_event(self, timeout_s: float) -> PoolEvent | None:
        """The next event, waiting up to timeout_s; None when none came."""

    def cancel(self, job_id: str, grace_s: float) -> None:
        """Ask the job to stop at its next report; after grace_s it is ended by force where the pool can.

        Unknown ids are ignored."""

    def close(self) -> None:
        """End everything at once and leave no process behind. Idempotent."""
