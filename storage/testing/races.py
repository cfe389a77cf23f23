"""The part of the contract about many at once: threads that race, and random interleavings against a small model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from threading import Barrier, Thread

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.records import Lease, Result, Status
from storage.store import StaleLease, Store
from storage.testing.fixtures import Connect, StoreFixtures, claim, save
from storage.testing.samples import VirtualClock, done, entries_of, failed, sample_job

JOBS = 3
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["claim", "expire", "wait"]), st.just(0)),
        st.tuples(st.sampled_from(["start", "renew", "done", "failed", "release"]), st.integers(0, 7)),
        st.tuples(st.sampled_from(["hold", "unhold", "cancel"]), st.integers(0, JOBS - 1)),
    ),
    min_size=10,
    max_size=40,
)
_seeds = count(10_000, JOBS)  # every example has jobs of its own in the one store


@dataclass
class Machine:
    """Plays steps on the store and remembers what was promised: leases given, and how finished jobs ended."""

    store: Store
    clock: VirtualClock
    seed: int
    leases: list[Lease] = field(default_factory=list)
    written: dict[str, tuple[Status, Result | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sweep = f"sweep {self.seed}"
        self.jobs = [sample_job(self.seed + number) for number in range(JOBS)]
        self.by_id = {job.job_id: job for job in self.jobs}
        save(self.store, *self.jobs, sweep=self.sweep)

    def play(self, step: str, number: int) -> None:
        if step == "claim":
            self._claim()
        elif step == "wait":
            self.clock.advance(61.0)
        elif step == "expire":
            self.store.expire()
        elif step in ("hold", "unhold", "cancel"):
            asked = {"hold": Status.HELD, "unhold": Status.PENDING, "cancel": Status.CANCELLED}[step]
            for moved in self.store.set_status([self.jobs[number].job_id], asked):
                assert self.written.pop(moved, (Status.FAILED, None))[0] is not Status.DONE
                if asked is Status.CANCELLED:
                    self.written[moved] = (asked, None)
        elif self.leases:
            with suppress(StaleLease):
                self._use(step, self.leases[number % len(self.leases)])

    def _claim(self) -> None:
        for lease in claim(self.store, 2, sweep=self.sweep):
            earlier = [old.epoch for old in self.leases if old.job_id == lease.job_id]
            assert lease.epoch == len(earlier) + 1, "epochs grow by one"
            assert lease.job_id not in self.written, "a finished job is not run again"
            self.leases.append(lease)

    def _use(self, step: str, lease: Lease) -> None:
        job = self.by_id[lease.job_id]
        if step == "start":
            self.store.start(lease)
        elif step == "renew":
            self.store.renew([lease], 60.0)
        elif step == "release":
            self.store.release(lease, "asked")
        else:
            result = done(job, top1_pct=float(lease.epoch)) if step == "done" else failed(job)
            self.store.finish(lease, result)
            last = max(old.epoch for old in self.leases if old.job_id == lease.job_id)
            assert lease.job_id not in self.written, "nothing finished is overwritten"
            assert lease.epoch == last, "no attempt writes after a later one began"
            self.written[lease.job_id] = (result.status, result)

    def check(self) -> None:
        held = self.store.leases(self.sweep)
        assert len({lease.job_id for lease in held}) == len(held), "one valid lease per job"
        for job_id, (status, result) in self.written.items():
            state = self.store.job(job_id)
            assert (state.status, state.result) == (status, result)
        states = [state.status for state in self.store.jobs(self.sweep)]
        assert self.store.counts(self.sweep) == {status: states.count(status) for status in set(states)}


class RaceContract(StoreFixtures):
    """Several drivers on one database."""

    def test_two_connections_see_one_another(self, connect: Connect) -> None:
        first, second = connect(), connect()
        save(first, sample_job())
        (lease,) = claim(second)
        assert first.leases("s") == [lease]

    def test_drivers_that_race_never_get_the_same_job(self, connect: Connect) -> None:
        stores = [connect() for _ in range(4)]
        save(stores[0], *(sample_job(seed) for seed in range(60)))
        barrier, taken, errors = Barrier(len(stores)), list[Lease](), list[Exception]()

        def drive(store: Store, owner: str) -> None:
            try:
                barrier.wait()
                for lease in _until_empty(store, owner):
                    store.start(lease)
                    store.finish(lease, done(store.job(lease.job_id).job))
                    taken.append(lease)
            except Exception as error:  # shown below: an exception in a thread would go unseen
                errors.append(error)

        threads = [Thread(target=drive, args=(store, f"driver {i}")) for i, store in enumerate(stores)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert sorted(lease.job_id for lease in taken) == sorted(sample_job(seed).job_id for seed in range(60))
        assert stores[0].counts("s") == {Status.DONE: 60}
        ids = [event.event_id for event in stores[0].events()]
        assert ids == sorted(set(ids))

    def test_drivers_that_save_the_same_sweep_at_once_both_succeed(self, connect: Connect) -> None:
        stores = [connect() for _ in range(3)]
        entries = entries_of(*(sample_job(seed) for seed in range(50)))
        barrier, new = Barrier(len(stores)), list[str]()

        def submit(store: Store) -> None:
            barrier.wait()
            new.extend(store.save_sweep("s", "spec", entries).new)

        threads = [Thread(target=submit, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(new) == sorted(entry.job.job_id for entry in entries)
        assert stores[0].counts("s") == {Status.PENDING: 50}

    def test_no_interleaving_loses_doubles_or_overwrites_a_result(self, store: Store, clock: VirtualClock) -> None:
        @settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
        @given(steps=STEPS)
        def play(steps: list[tuple[str, int]]) -> None:
            machine = Machine(store, clock, next(_seeds))
            for step, number in steps:
                machine.play(step, number)
            machine.check()

        play()


def _until_empty(store: Store, owner: str) -> Iterator[Lease]:
    while leases := claim(store, 2, owner=owner):
        yield from leases
