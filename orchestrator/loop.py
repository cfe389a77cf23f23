"""The loop: claim → submit → listen → record, until nothing is left to do. The only writer of a running sweep.

take back what dead drivers held; read in the results that they left spooled
while jobs are in flight or can be claimed:
    fill the free slots with claimed jobs          (not when draining; a measurement waits until it is alone)
    listen to the pool for one event
    Progress -> remember its epoch                 Done -> record the result
    Lost, or a failed result -> the policy says: again after a pause, or failed for good
    renew leases before they run out
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.owners import is_dead, this_owner
from orchestrator.policy import POLICY, pause_s
from orchestrator.progress import SweepProgress
from storage.files import read_spool
from storage.records import Failure, Lease, Result, Status
from storage.store import Entry, JobState, StaleLease, Store, StoreError
from workers.pools.protocol import Done, Lost, Pool, PoolEvent, Progress, Request

log = logging.getLogger(__name__)

LEASE_S = 120.0
_RENEW_EVERY_S = LEASE_S / 4
_LISTEN_S = 0.5


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
class _InFlight:
    entry: Entry
    lease: Lease

    @property
    def is_alone(self) -> bool:
        """Measurements run while nothing else does."""
        return bool(self.entry.resources.get("exclusive"))


@dataclass
class Loop:
    """Drives one sweep on one pool; `only` restricts it to those job ids.

    `watch` is called after every change with the progress, and must be quick; `request` says what a job asks of a slot.
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
    draining: bool = False
    stopping: bool = False

    def __post_init__(self) -> None:
        self._in_flight: dict[str, _InFlight] = {}
        self._claimed: list[_InFlight] = []  # not yet submitted: the first one is to be alone
        self._paused: list[tuple[float, Lease]] = []
        self._uncounted: Counter[str] = Counter()
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
        self.take_back()
        self.progress = SweepProgress.of(self.sweep, self._states())
        self.watch(self.progress, None)
        while not self.stopping:
            self._wake_paused()
            if not self.draining:
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

    def take_back(self) -> None:
        """Record results that were spooled and never stored; free jobs held by dead drivers of this host."""
        for path, lease, result in read_spool(self.home):
            try:
                self.store.finish(lease, result)
                log.info("job %s: result read in from the spool", result.job_id)
            except StaleLease:
                log.debug("job %s: spooled result of an old attempt dropped", result.job_id)
            except StoreError as error:  # of another store, say: one stray file must not stop every run
                log.warning("%s is left where it is: %s", path, error)
                continue
            path.unlink(missing_ok=True)
        self.store.expire()
        for lease in self.store.leases(self.sweep):
            if is_dead(lease.owner):
                self.store.release(lease, "its driver is gone")

    def _fill(self) -> None:
        free = self.pool.free_slots
        if free < 1:
            return
        if not self._claimed:
            found = self.store.claim(self.sweep, self.owner, free, LEASE_S, self.only)
            self._claimed = [_InFlight(entry, lease) for entry, lease in found]
        while self._claimed and self._may_start(self._claimed[0]):
            flight = self._claimed.pop(0)
            entry, lease = flight.entry, flight.lease
            try:
                self.store.start(lease)
            except StaleLease:
                continue  # cancelled or taken while it waited
            self._in_flight[entry.job.job_id] = flight
            self.progress.running[entry.job.job_id] = "start"
            self.pool.submit(entry.job, lease, self.request(entry))
            self.watch(self.progress, None)

    def _may_start(self, flight: _InFlight) -> bool:
        if flight.is_alone:
            return not self._in_flight
        return self.pool.free_slots > 0 and not any(other.is_alone for other in self._in_flight.values())

    def _handle(self, event: PoolEvent | None) -> None:
        flight = None if event is None else self._in_flight.get(event.job_id)
        if event is None or flight is None or flight.lease.epoch != event.lease_epoch:
            self.watch(self.progress, None)
            return
        if isinstance(event, Progress):
            self._progressed(event, flight.lease)
        else:
            del self._in_flight[event.job_id]
            self._ran += 1
            if isinstance(event, Lost):
                self._after_failure(flight, event.failure, None)
            elif event.result.status is Status.FAILED and event.result.failure is not None:
                self._after_failure(flight, event.result.failure, event.result)
            else:
                self._ended(flight, event)
        self.watch(self.progress, event)

    def _progressed(self, event: Progress, lease: Lease) -> None:
        part = f" {event.done}/{event.total}" if event.total else ""
        self.progress.running[event.job_id] = f"{event.stage}{part}"
        if event.epoch is not None:
            self.store.record_epoch(lease, event.epoch)

    def _ended(self, flight: _InFlight, event: Done) -> None:
        if event.result.status is Status.CANCELLED and self.stopping:
            self._release(flight.lease, "the driver was stopped")
        else:
            self._record(flight.lease, event.result)

    def _after_failure(self, flight: _InFlight, failure: Failure, result: Result | None) -> None:
        job, lease = flight.entry.job, flight.lease
        rule = POLICY[failure.failure_class]
        self._uncounted[job.job_id] += 1
        counted = self.store.counted_failures(job.job_id) + 1 if rule.counted else 0
        wait_s = pause_s(failure.failure_class, counted if rule.counted else self._uncounted[job.job_id])
        if wait_s is None:
            final = result or Result(job_id=job.job_id, status=Status.FAILED, failure=failure)
            self._record(lease, final)
            return
        log.info("job %s: %s (%s); again in %g s", job.job_id, failure.failure_class, failure.message, wait_s)
        self.progress.retries += 1
        self.progress.running.pop(job.job_id, None)
        cause = f"{failure.failure_class}: {failure.message}"
        if rule.counted:
            self._release(lease, cause, counted=True)
        elif wait_s > 0:
            self._paused.append((self.clock() + wait_s, lease))
        else:
            self._release(lease, cause)

    def _record(self, lease: Lease, result: Result) -> None:
        try:
            self.store.finish(lease, result)
        except StaleLease:
            log.warning("job %s: its lease was lost; the result of this attempt is dropped", result.job_id)
            self.progress.running.pop(result.job_id, None)
            return
        self.progress.finished(result.job_id, result)
        _spool_of(self.home, lease).unlink(missing_ok=True)

    def _release(self, lease: Lease, cause: str, *, counted: bool = False) -> None:
        try:
            self.store.release(lease, cause, counted=counted)
        except StaleLease:
            log.debug("job %s: nothing to release", lease.job_id)
        self.progress.running.pop(lease.job_id, None)

    def _wake_paused(self) -> None:
        now_s = self.clock()
        due = [lease for wake_s, lease in self._paused if wake_s <= now_s or self.draining]
        self._paused = [item for item in self._paused if item[1] not in due]
        for lease in due:
            self._release(lease, "again after a pause")

    def _renew(self) -> None:
        now_s = self.clock()
        if now_s - self._renewed_s < _RENEW_EVERY_S:
            return
        self._renewed_s = now_s
        self.store.expire()
        held = [flight.lease for flight in (*self._in_flight.values(), *self._claimed)]
        valid = self.store.renew([*held, *(lease for _, lease in self._paused)], LEASE_S)
        for job_id, flight in list(self._in_flight.items()):
            if job_id in valid:
                flight.lease = valid[job_id]
            else:  # cancelled by a person, or taken by another driver: the attempt is void
                self.pool.cancel(job_id, grace_s=10.0)
        self._claimed = [
            _InFlight(one.entry, valid[one.lease.job_id]) for one in self._claimed if one.lease.job_id in valid
        ]
        self._paused = [(wake_s, valid[lease.job_id]) for wake_s, lease in self._paused if lease.job_id in valid]

    def _nothing_more(self) -> bool:
        if self.draining:
            return True
        if self._paused:
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
        for flight in (*self._in_flight.values(), *self._claimed):
            self._release(flight.lease, "the driver was stopped")
        for _, lease in self._paused:
            self._release(lease, "the driver was stopped")
        self._in_flight.clear()
        self._claimed.clear()
        self._paused.clear()

    def _outcome(self) -> Outcome:
        counts = self._counts()
        return Outcome(
            done=counts[Status.DONE],
            failed=counts[Status.FAILED],
            blocked=counts[Status.PENDING],
            interrupted=self.draining,
            ran=self._ran,
            wall_s=self.clock() - self._began_s,
        )


def _spool_of(home: Path, lease: Lease) -> Path:
    return home / "spool" / f"{lease.job_id}.{lease.epoch}.json"
