"""What came out of a job, and the states it can be in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """pending -> leased -> running -> done | failed | cancelled | pruned; held = paused by a person."""

    PENDING = "pending"
    HELD = "held"
    LEASED = "leased"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PRUNED = "pruned"

    @property
    def is_finished(self) -> bool:
        return self in (Status.DONE, Status.FAILED, Status.CANCELLED, Status.PRUNED)


class FailureClass(StrEnum):
    """Why an attempt ended without a result; the loop decides by this alone what happens next."""

    NODE_LOST = "node_lost"
    PREEMPTED = "preempted"
    TRANSIENT = "transient"
    CRASH = "crash"
    CUDA_OOM = "cuda_oom"
    HOST_OOM = "host_oom"
    DIVERGED = "diverged"
    USER_ERROR = "user_error"


@dataclass(frozen=True)
class Failure:
    """`message` is one sentence for a person; `detail` the last lines of the trace."""

    failure_class: FailureClass
    message: str
    detail: str = ""


@dataclass(frozen=True)
class EpochMetrics:
    """Metrics of one epoch, 1-based; `wall_s` since the job began."""

    epoch: int
    metrics: Mapping[str, float]
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one attempt at a job.

    `files`: role -> path relative to the home ("predictions", "delta", "artifact", "log").
    `facts`: what was found out on the way and is no metric: versions, device, threads, data content hash, notes.
    """

    job_id: str
    status: Status
    metrics: Mapping[str, float] = field(default_factory=dict)
    epochs: tuple[EpochMetrics, ...] = ()
    failure: Failure | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; `Result.from_json(result.to_json()) == result`."""
        return {  # asdict copies values too, which takes longer than a small job's training
            **{item.name: getattr(self, item.name) for item in fields(self)},
            "metrics": dict(self.metrics),
            "epochs": [{**vars(epoch), "metrics": dict(epoch.metrics)} for epoch in self.epochs],
            "failure": None if self.failure is None else asdict(self.failure),
            "files": dict(self.files),
            "facts": dict(self.facts),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Result:
        """The result that `to_json` wrote; fields this version does not know are refused (TypeError)."""
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(record) - known)
        if unknown:
            raise TypeError(f"a result of a newer version has fields this one does not know: {', '.join(unknown)}")
        failure = record.get("failure")
        return cls(
            **{
                **record,
                "status": Status(record["status"]),
                "epochs": tuple(EpochMetrics(**epoch) for epoch in record.get("epochs", ())),
                "failure": None
                if failure is None
                else Failure(FailureClass(failure["failure_class"]), failure["message"], failure["detail"]),
            }
        )


@dataclass(frozen=True)
class Lease:
    """The right to run one attempt; `epoch` is the fencing token: a later lease of the job makes this one void."""

    job_id: str
    epoch: int
    owner: str
    expires_s: float  # seconds since the Unix epoch, by the store's clock
