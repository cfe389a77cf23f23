"""The Ray pool: one actor per slot, on this machine or on a cluster.

A slot is a process with its CPUs and (parts of) GPUs fixed when it is made; it runs one job at a time and stays warm.
Ray retries nothing. A slot is replaced after a failure that says something of its process, after `jobs_per_slot` jobs,
or when a job needs another shape. There are never more jobs in Ray than slots.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import RayError

from storage.records import Failure, FailureClass, Job, Lease, Result
from workers.pools.inline import Runner
from workers.pools.protocol import Done, Lost, PoolError, PoolEvent, Progress, Request, Work
from workers.pools.ray_attempt import Attempt
from workers.pools.ray_failures import classified
from workers.pools.ray_session import RayOptions, RaySession
from workers.pools.ray_shapes import Node, asked, memory_share_mib, slots_in, why_infeasible
from workers.pools.ray_slot import Begun, JobSlot

_NODES_AGE_S = 5.0
_STARVED_S = 30.0
_remote: Any = ray.remote  # its annotations lack concurrency groups
_ACTOR = _remote(max_restarts=0, max_task_retries=0, concurrency_groups={"control": 1})
_PROCESS_IS_FINE = (FailureClass.USER_ERROR, FailureClass.DIVERGED)


@dataclass(eq=False)
class _Slot:
    actor: Any
    shape: Request
    name: str
    served: int = 0
    last: tuple[str, str] | None = None  # backbone and data set of its last job: those are warm
    attempt: Attempt | None = None


class RayPool:
    """Runs jobs in actors. `runner` is pickled once into each slot; `workers.pools.ray_slot.SiteRunner` for real jobs.

    `requests`: what the jobs to come will ask for; how many slots there are follows from the smallest of them.
    Raises PoolError when Ray cannot be reached."""

    def __init__(
        self, runner: Runner, options: RayOptions | None = None, requests: Sequence[Request] = (Request(),)
    ) -> None:
        self._runner = runner
        self._options = options or RayOptions()
        self._session = RaySession(self._options)
        self._actor_class = _ACTOR(JobSlot)
        self._shapes = [self._shape_of(request) for request in requests]
        self._slots: list[_Slot] = []
        self._ended: deque[PoolEvent] = deque()
        self._made = 0
        self._nodes_s = float("-inf")
        self._nodes: list[Node] = []
        self._closed = False
        self._window = self.slots

    @property
    def slots(self) -> int:
        """How many jobs may be in Ray at once. Jobs of larger shapes than the smallest may have to wait there."""
        fitting = max(slots_in(self._living_nodes(), shape) for shape in self._shapes)
        return fitting if self._options.slots is None else min(fitting, self._options.slots)

    @property
    def free_slots(self) -> int:
        self._window = self.slots
        return 0 if self._closed or self._lacks_room() else max(0, self._window - len(self._busy()))

    def feasible(self, request: Request) -> str | None:
        return why_infeasible(self._living_nodes(), self._shape_of(request))

    def submit(self, job: Job, lease: Lease, request: Request, then: Sequence[Work] = ()) -> None:
        """Hand the job to the warmest free slot of its shape. Raises PoolError when there is none, or never can be."""
        if self._closed:
            raise PoolError("the pool is closed")
        busy = len(self._busy())
        if busy >= self._window:  # as last told: what free_slots promised is kept when a node vanishes in between
            raise PoolError(f"no free slot: {busy} of {self._window} are busy")
        shape, problem = self._shape_of(request), self.feasible(request)
        if problem is not None and shape not in self._shapes:
            raise PoolError(problem)
        if problem is not None:  # it was promised, and its node vanished since
            failure = Failure(FailureClass.NODE_LOST, problem)
            self._ended += [Lost(one.job_id, held.epoch, failure) for one, held in [(job, lease), *then]]
            return
        if shape not in self._shapes:
            self._shapes.append(shape)
        slot = self._warmest(job, shape) or self._new_slot(shape)
        stream = slot.actor.run.remote([(job, lease), *then])
        behind = [(one.job_id, held.epoch) for one, held in then]
        slot.attempt = Attempt(job.job_id, lease.epoch, stream, time.monotonic(), behind)
        slot.last = _warmth(job)

    def next_event(self, timeout_s: float) -> PoolEvent | None:
        until_s = time.monotonic() + timeout_s
        while not self._ended:
            left_s = until_s - time.monotonic()
            event = self._listen(max(0.0, left_s))
            self._kill_overdue()
            self._feed_starved()
            if event is not None:
                return event
            if left_s <= 0:
                break
        return self._ended.popleft() if self._ended else None

    def cancel(self, job_id: str, grace_s: float) -> None:
        for slot in self._busy():
            epoch = None if slot.attempt is None else slot.attempt.stop(job_id, grace_s)
            if epoch is not None:
                slot.actor.stop.options(concurrency_group="control").remote(job_id, epoch)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for slot in list(self._slots):
            self._end(slot)
        self._ended.clear()
        self._session.close()

    def _living_nodes(self) -> list[Node]:
        if time.monotonic() - self._nodes_s > _NODES_AGE_S:
            self._nodes, self._nodes_s = self._session.living_nodes(), time.monotonic()
        return self._nodes

    def _shape_of(self, request: Request) -> Request:
        cpus, gpus = self._options.cpus_per_slot, self._options.gpus_per_slot
        return replace(
            request, cpus=request.cpus if cpus is None else cpus, gpus=request.gpus if gpus is None else gpus
        )

    def _busy(self) -> list[_Slot]:
        return [slot for slot in self._slots if slot.attempt is not None]

    def _idle(self) -> list[_Slot]:
        return [slot for slot in self._slots if slot.attempt is None]

    def _warmest(self, job: Job, shape: Request) -> _Slot | None:
        """The idle slot of the right shape that has most of what this job needs in memory: backbone before data.

        More memory than the job needs is no reason for another process."""
        backbone, dataset = _warmth(job)
        fitting = [
            slot
            for slot in self._idle()
            if slot.shape.mem_mib >= shape.mem_mib and replace(slot.shape, mem_mib=shape.mem_mib) == shape
        ]
        return max(
            fitting,
            key=lambda slot: slot.last is not None and 2 * (slot.last[0] == backbone) + (slot.last[1] == dataset),
            default=None,
        )

    def _new_slot(self, shape: Request) -> _Slot:
        """A new process. Idle ones make room for it; where busy ones hold the room, Ray starts it later."""
        shape = self._with_memory(shape)
        while self._idle() and (len(self._slots) >= self._window or self._is_crowded(shape)):
            self._end(self._idle()[0])
        actor = self._actor_class.options(
            num_cpus=shape.cpus,
            num_gpus=shape.gpus,
            memory=int(shape.mem_mib * 2**20),
            resources=shape.extra,
            runtime_env={"env_vars": self._options.environment(shape.gpus)},
        ).remote(self._runner)
        self._made += 1
        slot = _Slot(actor, shape, f"ray-{self._made}")
        self._slots.append(slot)
        return slot

    def _with_memory(self, shape: Request) -> Request:
        """A slot takes its share of a node's memory, so that it can serve larger jobs later and all slots fit beside
        each other; no more than its job needs where busy slots leave less."""
        roomy = replace(shape, mem_mib=max(shape.mem_mib, memory_share_mib(self._nodes, shape)))
        busy = [slot.shape for slot in self._busy()]
        return shape if shape.mem_mib and self._exceeds_nodes([*busy, roomy]) else roomy

    def _lacks_room(self) -> bool:
        """Whether a job waits in Ray until busy slots end; any behind it would take the room that it waits for."""
        waits = any(slot.attempt is not None and not slot.attempt.begun for slot in self._slots)
        return waits and self._exceeds_nodes([slot.shape for slot in self._busy()])

    def _is_crowded(self, *more: Request) -> bool:
        """Whether all slots, and `more`, ask for more than all nodes have."""
        return self._exceeds_nodes([*(slot.shape for slot in self._slots), *more])

    def _exceeds_nodes(self, shapes: Sequence[Request]) -> bool:
        held = [asked(shape) for shape in shapes]
        return any(
            sum(shape.get(name, 0.0) for shape in held) > sum(node.resources.get(name, 0.0) for node in self._nodes)
            for name in {name for shape in held for name in shape}
        )

    def _listen(self, wait_s: float) -> PoolEvent | None:
        """The next thing any slot says; None when it is nothing for the loop, or nothing came in wait_s."""
        busy = self._busy()
        overdue_s = [slot.attempt.kill_at_s for slot in busy if slot.attempt and slot.attempt.kill_at_s is not None]
        wait_s = max(0.0, min([wait_s, *(at_s - time.monotonic() for at_s in overdue_s)]))
        if not busy:
            time.sleep(wait_s)
            return None
        streams = [slot.attempt.stream for slot in busy if slot.attempt is not None]
        ready, _ = ray.wait(streams, num_returns=1, timeout=wait_s)
        return self._read(busy[streams.index(ready[0])]) if ready else None

    def _read(self, slot: _Slot) -> PoolEvent | None:
        attempt = slot.attempt
        if attempt is None:
            return None
        try:
            said = ray.get(next(attempt.stream))
        except (RayError, StopIteration) as error:
            # A warm slot may have died while it was idle; a fresh one died of its start, or of its job's first moment.
            return self._lost(slot, attempt, classified(error, begun=attempt.begun or slot.served == 0))
        match said:
            case Begun(host, pid):
                attempt.begun, slot.name = True, f"{host}/{pid}"
                return None
            case Result():
                return self._done(slot, attempt, said)
            case Progress():
                return said
        raise PoolError(f"slot {slot.name} said {said!r}, which is no word of a slot")

    def _done(self, slot: _Slot, attempt: Attempt, result: Result) -> Done:
        done = Done(attempt.job_id, attempt.lease_epoch, result, slot.name)
        is_suspect = result.failure is not None and result.failure.failure_class not in _PROCESS_IS_FINE
        if attempt.behind and not is_suspect:
            attempt.next()
            return done
        self._ended += attempt.left_behind(slot.name)
        slot.attempt = None
        slot.served += 1
        if is_suspect or slot.served >= self._options.jobs_per_slot:
            self._end(slot)
        else:  # the one that ended last is the last to make room
            self._slots.remove(slot)
            self._slots.append(slot)
        return done

    def _lost(self, slot: _Slot, attempt: Attempt, failure: Failure) -> PoolEvent:
        self._end(slot)
        self._nodes_s = float("-inf")  # look again which nodes there are
        end = attempt.lost(failure, slot.name)
        self._ended += attempt.left_behind(slot.name)
        return end

    def _kill_overdue(self) -> None:
        """End by force what was asked to stop and did not in its grace."""
        now_s = time.monotonic()
        for slot in self._busy():
            if slot.attempt and slot.attempt.kill_at_s is not None and slot.attempt.kill_at_s <= now_s:
                self._ended.append(slot.attempt.cancelled(slot.name))
                self._ended += slot.attempt.left_behind(slot.name)
                self._end(slot)

    def _feed_starved(self) -> None:
        """A slot that Ray cannot start because idle ones hold its room gets theirs."""
        waiting = [slot.attempt.submitted_s for slot in self._busy() if slot.attempt and not slot.attempt.begun]
        if not waiting:
            return
        is_starved = time.monotonic() - min(waiting) > _STARVED_S
        while self._idle() and (is_starved or self._is_crowded()):
            self._end(self._idle()[0])

    def _end(self, slot: _Slot) -> None:
        self._slots.remove(slot)
        with suppress(RayError):
            ray.kill(slot.actor)


def _warmth(job: Job) -> tuple[str, str]:
    return f"{job.backbone.name}@{job.backbone.weights_hash}", f"{job.dataset.name}@{job.dataset.data_hash}"
