"""A pool that runs nothing: it answers from a script, in virtual time. For tests of the loop, and for replay."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from storage.records import EpochMetrics, Failure, FailureClass, Job, Lease, Result, Status
from workers.pools.protocol import Done, Lost, PoolError, PoolEvent, Progress, Request, Work, left_behind
from workers.pools.ray_shapes import Node, why_infeasible


class VirtualClock:
    """Seconds that pass only when told to."""

    def __init__(self, now_s: float = 1_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True)
class Answer:
    """What the script says of one attempt: how long it takes and how it ends."""

    duration_s: float = 1.0
    result: Result | None = None
    failure: Failure | None = None  # set: the attempt is Lost
    epochs: tuple[EpochMetrics, ...] = ()  # reported evenly over the duration


@dataclass(order=True)
class _Due:
    at_s: float
    sequence: int
    event: PoolEvent = field(compare=False)


class ScriptedPool:
    """`script(job, lease_epoch)` decides each attempt; waiting advances the clock instead of sleeping.

    `nodes`: what is feasible there; any request where there are none.
    """

    def __init__(
        self, script: Callable[[Job, int], Answer], clock: VirtualClock, slots: int = 1, nodes: Sequence[Node] = ()
    ) -> None:
        self._script = script
        self._nodes = nodes
        self._clock = clock
        self._slots = slots
        self._due: list[_Due] = []
        self._sequence = 0
        self._running: dict[str, Lease] = {}
        self._slot_of: dict[str, int] = {}  # of each running job; those of one bundle share it
        self._behind: dict[int, list[Work]] = {}  # by slot, those whose turn has not come
        self._ended: list[PoolEvent] = []  # at once
        self._made = 0
        self._closed = False

    @property
    def free_slots(self) -> int:
        return 0 if self._closed else self._slots - len(set(self._slot_of.values()))

    def feasible(self, request: Request) -> str | None:
        return why_infeasible(self._nodes, request) if self._nodes else None

    def submit(self, job: Job, lease: Lease, request: Request, then: Sequence[Work] = ()) -> None:
        if self._closed:
            raise PoolError("the pool is closed")
        if self.free_slots < 1:
            raise PoolError(f"no free slot: {len(self._running)} jobs are in {self._slots}")
        self._made += 1
        self._slot_of.update({one.job_id: self._made for one, _ in [(job, lease), *then]})
        self._running.update({one.job_id: held for one, held in [(job, lease), *then]})
        self._play(job, lease)
        self._behind[self._made] = list(then)

    def _play(self, job: Job, lease: Lease) -> None:
        answer, now_s = self._script(job, lease.epoch), self._clock.now_s
        for index, epoch in enumerate(answer.epochs, start=1):
            at_s = now_s + answer.duration_s * index / (len(answer.epochs) + 1)
            total = len(answer.epochs)
            self._push(at_s, Progress(job.job_id, lease.epoch, "train", index, total, epoch))
        self._push(now_s + answer.duration_s, _ending(job, lease, answer))

    def _next_turn(self, slot: int, ended: Done | Lost) -> None:
        """The jobs behind the one that ended go on, or are lost with it."""
        behind = self._behind[slot]
        if isinstance(ended, Done):
            if behind:
                self._play(*behind.pop(0))
            return
        while behind:
            job, lease = behind.pop(0)
            self._push(self._clock.now_s, left_behind(job.job_id, lease.epoch, ended.job_id, "scripted"))

    def _push(self, at_s: float, event: PoolEvent) -> None:
        self._sequence += 1
        heapq.heappush(self._due, _Due(at_s, self._sequence, event))

    def next_event(self, timeout_s: float) -> PoolEvent | None:
        if self._ended:
            return self._ended.pop(0)
        deadline_s = self._clock.now_s + timeout_s
        while self._due and self._due[0].at_s <= deadline_s:
            due = heapq.heappop(self._due)
            lease = self._running.get(due.event.job_id)
            if lease is None or lease.epoch != due.event.lease_epoch:
                continue  # cancelled meanwhile
            self._clock.now_s = max(self._clock.now_s, due.at_s)
            if isinstance(due.event, Done | Lost):
                del self._running[due.event.job_id]
                self._next_turn(self._slot_of.pop(due.event.job_id), due.event)
            return due.event
        self._clock.now_s = deadline_s
        return None

    def cancel(self, job_id: str, grace_s: float) -> None:
        """The scripted job obeys at once, also before its turn."""
        lease = self._running.get(job_id)
        if lease is None:
            return
        behind = self._behind[self._slot_of[job_id]]
        if any(job.job_id == job_id for job, _ in behind):
            behind[:] = [one for one in behind if one[0].job_id != job_id]
            del self._running[job_id], self._slot_of[job_id]
            self._ended.append(
                Done(job_id, lease.epoch, Result(job_id=job_id, status=Status.CANCELLED), slot="scripted")
            )
            return
        self._due = [due for due in self._due if due.event.job_id != job_id]
        heapq.heapify(self._due)
        result = Result(job_id=job_id, status=Status.CANCELLED)
        self._push(self._clock.now_s, Done(job_id, lease.epoch, result, slot="scripted"))

    def close(self) -> None:
        self._closed = True
        self._due.clear()
        self._running.clear()
        self._slot_of.clear()


def _ending(job: Job, lease: Lease, answer: Answer) -> Done | Lost:
    if answer.failure is not None:
        return Lost(job.job_id, lease.epoch, answer.failure, slot="scripted")
    result = answer.result or Result(job_id=job.job_id, status=Status.DONE, metrics={"test_top1_pct": 50.0})
    return Done(job.job_id, lease.epoch, result, slot="scripted")


def failed(job: Job, failure_class: FailureClass, message: str = "as the script says") -> Result:
    """A failed result, for scripts."""
    return Result(job_id=job.job_id, status=Status.FAILED, failure=Failure(failure_class, message))
