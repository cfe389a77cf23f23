"""The loop: claim → submit → listen → record, until nothing is left to do. The only writer of a running sweep.

take back what dead drivers held; read in the results that they left spooled
while jobs are in flight, can be claimed or may still join:
    let the guide (tuning) add jobs that what has finished calls for
    fill the free slots with claimed jobs          (not when draining; a measurement waits until it is alone)
    listen to the pool for one event
    Progress -> remember its epoch; the guide may have the job stopped as pruned
    Done     -> record the result
    Lost, or a failed result -> the policy says: again after a pause, or failed for good
    renew leases before they run out
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.claims import Claims, InFlight
from orchestrator.guide import Guide, NoGuide, pruned
from orchestrator.owners import this_owner
from orchestrator.policy import POLICY
from orchestrator.progress import SweepProgress
from orchestrator.retries import Retries
from orchestrator.taking_back import as_spooled, spool_of, take_back
from storage.records import Failure, Lease, Result, Status
from storage.store import Entry, JobState, StaleLease, Store
from workers.pools.protocol import Done, Lost, Pool, PoolEvent, Progress, Request

log = logging.getLogger(__name__)

LEASE_S = 120.0
_RENEW_EVERY_S = LEASE_S / 4
_LISTEN_S = 0.5
_PRUNE_GRACE_S = 60.0  # a step and an evaluation; then the slot is ended


@dataclass(frozen=True)
class Outcome:
    """How the loop ended: jobs of the sweep by state, and how many attempts this driver `ran`.

    `blocked` jobs wait for an artifact whose prepare job failed, or were left by a drained driver.
    """

    done: int
    failed: int
    blocked: int
    interrupted: bool
    ran: int
    wall_s: float


@dataclass
class Loop:
    """Drives one sweep on one pool; `only` restricts it to those job ids.

    `watch` is called after every change with the progress, and must be quick; `request` says what a job asks of a slot;
    `guide` adds jobs and stops some.
    """

    store: Store
    sweep: str
    pool: Pool
    home: Path
    only: Sequence[str] | None = None
    watch: Callable[[SweepProgress, PoolEvent | None], None] = lambda progress, event: None
    request: Callable[[Entry], Request] = lambda entry: Request.of(entry.resources)
    clock: Callable[[], float] = time.time
    owner: str = field(default_factory=this_owner)
    guide: Guide = field(default_factory=NoGuide)
    draining: bool = False
    stopping: bool = False

    def __post_init__(self) -> None:
        self._in_flight: dict[str, InFlight] = {}
        self._claims = Claims(self.store, self.sweep, self.owner, self.only, LEASE_S)
        self._retries = Retries(self.store)
        self._may_grow = True
        self._renewed_s = self.clock()
        self._ran = 0
        self._began_s = self.clock()
        self.progress = SweepProgress(self.sweep)

    def drain(self) -> None:
        """Start nothing more; what runs is finished. Safe in a signal handler."""
        self.draining = True

    def stop(self) -> None:
        """End what runs now and give it back to the store. Safe in a signal handler."""
        self.draining = self.stopping = True

    def run(self) -> Outcome:
        """Until every job of the sweep is finished, blocked or held; or until drained."""
        take_back(self.store, self.sweep, self.home)
        states = self._states()
        self._claims.know(state.job for state in states if state.status is Status.PENDING)
        self.progress = SweepProgress.of(self.sweep, states)
        self.watch(self.progress, None)
        while not self.stopping:
            self._wake_paused()
            if not self.draining:
                self._grow()
                self._fill()
            if not self._in_flight and self._nothing_more():
                break
            self._handle(self.pool.next_event(_LISTEN_S))
            self._renew()
        self._give_back()
        return self._outcome()

    def _counts(self) -> Counter[Status]:
        """Jobs by status; asked again and again while another driver holds the last ones, so no job is read."""
        if self.only is None:
            return Counter(self.store.counts(self.sweep))
        return Counter(self.store.known(self.only).values())

    def _states(self) -> list[JobState]:
        wanted = None if self.only is None else frozenset(self.only)
        return [state for state in self.store.jobs(self.sweep) if wanted is None or state.job.job_id in wanted]

    def _grow(self) -> None:
        if self._may_grow:
            self._may_grow = False
            joined = self.guide.more()
            self._claims.know(entry.job for entry in joined)
            self.progress.joined(joined)
            self.progress.to_come = self.guide.to_come()

    def _fill(self) -> None:
        free = self.pool.free_slots
        if free < 1:
            return
        self._claims.refill(free)
        while self._claims.waiting and self._may_start(self._claims.waiting[0][0]):
            self._submit(self._claims.waiting.pop(0))

    def _submit(self, bundle: list[InFlight]) -> None:
        while bundle and not self._begin(bundle[0]):
            del bundle[0]  # cancelled or taken while it waited
        if not bundle:
            return
        self._in_flight.update({flight.entry.job.job_id: flight for flight in bundle})
        entry, lease = bundle[0].entry, bundle[0].lease
        then = [(flight.entry.job, flight.lease) for flight in bundle[1:]]
        self.pool.submit(entry.job, lease, self.request(entry), then)
        self.watch(self.progress, None)

    def _begin(self, flight: InFlight) -> bool:
        """Note that its turn in its slot has come; False where its lease is void by now."""
        flight.begun = True
        try:
            self.store.start(flight.lease)
        except StaleLease:
            return False
        self.progress.running[flight.entry.job.job_id] = "start"
        return True

    def _may_start(self, flight: InFlight) -> bool:
        if flight.is_alone:
            return not self._in_flight
        return self.pool.free_slots > 0 and not any(other.is_alone for other in self._in_flight.values())

    def _handle(self, event: PoolEvent | None) -> None:
        flight = None if event is None else self._in_flight.get(event.job_id)
        if event is None or flight is None or flight.lease.epoch != event.lease_epoch:
            self._may_grow = self._may_grow or not self._in_flight  # another driver may have finished something
            self.watch(self.progress, None)
            return
        if not flight.begun and not isinstance(event, Lost) and not self._begin(flight):
            self.pool.cancel(event.job_id, grace_s=10.0)
        if isinstance(event, Progress):
            self._progressed(event, flight)
        else:
            del self._in_flight[event.job_id]
            self._ran += 1
            event = as_spooled(self.home, flight.lease, event) if isinstance(event, Lost) else event
            if flight.pruned and not (isinstance(event, Done) and event.result.status is Status.DONE):
                self._record(flight.lease, pruned(event.job_id, flight.epochs))
            elif isinstance(event, Lost):
                self._after_failure(flight, event.failure, None)
            elif event.result.status is Status.FAILED and event.result.failure is not None:
                self._after_failure(flight, event.result.failure, event.result)
            else:
                self._ended(flight, event)
        self.watch(self.progress, event)

    def _progressed(self, event: Progress, flight: InFlight) -> None:
        part = f" {event.done}/{event.total}" if event.total else ""
        self.progress.running[event.job_id] = f"{event.stage}{part}"
        if event.epoch is None or flight.pruned:
            return
        self.store.record_epoch(flight.lease, event.epoch)
        flight.epochs.append(event.epoch)
        if self.guide.stops(event.job_id, event.epoch):
            flight.pruned = True
            self.pool.cancel(event.job_id, _PRUNE_GRACE_S)

    def _ended(self, flight: InFlight, event: Done) -> None:
        if event.result.status is Status.CANCELLED and self.stopping:
            self._release(flight.lease, "the driver was stopped")
        else:
            self._record(flight.lease, event.result)

    def _after_failure(self, flight: InFlight, failure: Failure, result: Result | None) -> None:
        job, lease = flight.entry.job, flight.lease
        wait_s = self._retries.wait_s(job.job_id, failure)
        if wait_s is None:
            final = result or Result(job_id=job.job_id, status=Status.FAILED, failure=failure)
            self._record(lease, final)
            return
        log.info("job %s: %s (%s); again in %g s", job.job_id, failure.failure_class, failure.message, wait_s)
        self.progress.retries += 1
        self.progress.running.pop(job.job_id, None)
        is_counted = POLICY[failure.failure_class].counted
        if wait_s > 0 and not is_counted:
            self._retries.pause(lease, self.clock() + wait_s)
        else:
            self._release(lease, f"{failure.failure_class}: {failure.message}", counted=is_counted)

    def _record(self, lease: Lease, result: Result) -> None:
        try:
            self.store.finish(lease, result)
        except StaleLease:
            log.warning("job %s: its lease was lost; the result of this attempt is dropped", result.job_id)
            self.progress.running.pop(result.job_id, None)
            return
        self._may_grow = True
        self.progress.finished(result.job_id, result)
        spool_of(self.home, lease).unlink(missing_ok=True)

    def _release(self, lease: Lease, cause: str, *, counted: bool = False) -> None:
        try:
            self.store.release(lease, cause, counted=counted)
        except StaleLease:
            log.debug("job %s: nothing to release", lease.job_id)
        self.progress.running.pop(lease.job_id, None)

    def _wake_paused(self) -> None:
        for lease in self._retries.due(math.inf if self.draining else self.clock()):
            self._release(lease, "again after a pause")

    def _renew(self) -> None:
        now_s = self.clock()
        if now_s - self._renewed_s < _RENEW_EVERY_S:
            return
        self._renewed_s = now_s
        self._may_grow = True
        self.store.expire()
        held = [*(flight.lease for flight in self._in_flight.values()), *self._claims.leases]
        valid = self.store.renew([*held, *self._retries.leases], LEASE_S)
        for job_id, flight in list(self._in_flight.items()):
            if job_id in valid:
                flight.lease = valid[job_id]
            else:  # cancelled by a person, or taken by another driver: the attempt is void
                self.pool.cancel(job_id, grace_s=10.0)
        self._claims.renewed(valid)
        self._retries.renewed(valid)

    def _nothing_more(self) -> bool:
        if self.draining:
            return True
        if self._retries.leases or self._may_grow:
            return False
        counts = self._counts()
        return not counts[Status.LEASED] and not counts[Status.RUNNING]

    def _give_back(self) -> None:
        """Cancel what still runs, wait a moment for it, and release the rest: nothing stays leased to a dead driver."""
        for job_id in self._in_flight:
            self.pool.cancel(job_id, grace_s=5.0)
        until_s = self.clock() + 5.0
        while self._in_flight and self.clock() < until_s:
            self._handle(self.pool.next_event(_LISTEN_S))
        for lease in (*(flight.lease for flight in self._in_flight.values()), *self._claims.leases):
            self._release(lease, "the driver was stopped")
        for lease in self._retries.due(math.inf):
            self._release(lease, "the driver was stopped")
        self._in_flight.clear()
        self._claims.waiting.clear()

    def _outcome(self) -> Outcome:
        counts = self._counts()
        return Outcome(
            done=counts[Status.DONE],
            failed=counts[Status.FAILED] - self.guide.excused(),
            blocked=counts[Status.PENDING] + self.guide.owed(),
            interrupted=self.draining,
            ran=self._ran,
            wall_s=self.clock() - self._began_s,
        )
