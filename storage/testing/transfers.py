"""The part of the contract about other stores: what a snapshot holds, and what absorbing one does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from storage.records import Job, Result, Status
from storage.snapshot import KeptJob, Place, Snapshot
from storage.store import Store, StoreError, UnknownSweep
from storage.testing.fixtures import StoreFixtures, claim, claim_one, save
from storage.testing.samples import curve, done, entries_of, failed, sample_job, sample_key

KEY = sample_key()
MAKER, USER, PLAIN, BROKEN, WAITING = (
    sample_job(0, makes=KEY),
    sample_job(1, needs=(KEY,)),
    sample_job(2),
    sample_job(3),
    sample_job(4),
)
CURVE = curve(2.0, float("inf"))


def finish(store: Store, job: Job, outcome: Callable[[Job], Result] = done, sweep: str = "s") -> None:
    """Run that job of the sweep to its end."""
    ((_, lease),) = store.claim(sweep, "me", 1, 60.0, [job.job_id])
    store.start(lease)
    store.finish(lease, outcome(job))


def well(job: Job) -> Result:
    return done(job, epochs=CURVE)


def other_store(store: Store) -> Snapshot:
    """What a store with one job of each kind gives; the given store is used to make it and knows it all already."""
    store.save_sweep("s", "spec", entries_of(MAKER, USER, PLAIN, BROKEN, WAITING))
    finish(store, MAKER)
    finish(store, USER, well)
    finish(store, PLAIN, well)
    finish(store, BROKEN, failed)
    return store.snapshot()


def ended(*jobs: Job, sweep: str = "s", status: Status = Status.DONE) -> Snapshot:
    """A snapshot written by hand: these jobs in one sweep, all ended so."""
    results = [replace(done(job), status=status) for job in jobs]
    kept = (
        KeptJob(job, status, (Place(sweep, order, "theirs"),), result)
        for order, (job, result) in enumerate(zip(jobs, results, strict=True))
    )
    return Snapshot({sweep: "spec"}, tuple(kept))


class TransferContract(StoreFixtures):
    """Joining what another store knows."""

    def test_a_snapshot_holds_every_job_with_its_place_and_its_whole_result(self, store: Store) -> None:
        found = {kept.job: kept for kept in other_store(store).jobs}
        assert {job: kept.status for job, kept in found.items()} == {
            **dict.fromkeys((MAKER, USER, PLAIN), Status.DONE),
            BROKEN: Status.FAILED,
            WAITING: Status.PENDING,
        }
        assert found[USER].result == well(USER)
        assert found[USER].places == (Place("s", 1, "lora+pyra", {"cpus": 1.0}),)
        assert (found[WAITING].result, found[WAITING].attempt) == (None, None)
        attempts = {job: kept.attempt for job, kept in found.items() if kept.attempt is not None}
        assert {job for job, attempt in attempts.items() if attempt.counted} == {BROKEN}

    def test_a_snapshot_of_a_sweep_brings_the_makers_of_what_its_jobs_need(self, store: Store) -> None:
        save(store, MAKER, PLAIN, sweep="first")
        finish(store, MAKER, sweep="first")
        save(store, USER, sweep="second")
        snapshot = store.snapshot(["second"])
        assert {kept.job: kept.places for kept in snapshot.jobs} == {
            MAKER: (),
            USER: (Place("second", 0, "lora+pyra", {"cpus": 1.0}),),
        }
        assert dict(snapshot.specs) == {"second": "spec"}
        with pytest.raises(UnknownSweep):
            store.snapshot(["third"])

    def test_absorbing_ones_own_snapshot_changes_nothing(self, store: Store) -> None:
        snapshot = other_store(store)
        before = store.events()
        absorbed = store.absorb(snapshot)
        assert (absorbed.new, absorbed.ended, absorbed.sweeps) == ((), (), ())
        assert (store.snapshot(), store.events()) == (snapshot, before)

    def test_an_empty_store_knows_afterwards_what_the_other_knew(self, store: Store) -> None:
        theirs = ended(MAKER, USER, PLAIN)
        absorbed = store.absorb(theirs)
        assert absorbed.new == absorbed.ended == tuple(kept.job.job_id for kept in theirs.jobs)
        assert (absorbed.sweeps, store.spec("s")) == (("s",), "spec")
        assert [(state.job, state.status, state.row, state.result) for state in store.jobs("s")] == [
            (kept.job, Status.DONE, "theirs", kept.result) for kept in theirs.jobs
        ]
        assert set(store.artifacts([KEY])) == {KEY.key_id}
        assert store.counts("s") == {Status.DONE: 3}

    def test_absorbing_twice_is_absorbing_once(self, store: Store) -> None:
        store.absorb(ended(PLAIN))
        before = (store.snapshot(), store.events())
        assert store.absorb(ended(PLAIN)).ended == ()
        assert (store.snapshot(), store.events()) == before

    def test_the_curve_comes_along(self, store: Store) -> None:
        store.absorb(Snapshot({}, (KeptJob(PLAIN, Status.DONE, (), well(PLAIN)),)))
        assert (store.job(PLAIN.job_id).result, tuple(store.epochs(PLAIN.job_id))) == (well(PLAIN), CURVE)

    @pytest.mark.parametrize("before", [Status.PENDING, Status.HELD, Status.FAILED, Status.CANCELLED])
    def test_a_job_that_is_not_done_here_becomes_done_when_it_is_done_there(self, store: Store, before: Status) -> None:
        save(store, PLAIN)
        if before is Status.FAILED:
            finish(store, PLAIN, failed)
        elif before is not Status.PENDING:
            store.set_status([PLAIN.job_id], before)
        attempts = store.job(PLAIN.job_id).attempts
        assert store.absorb(ended(PLAIN)).ended == (PLAIN.job_id,)
        state = store.job(PLAIN.job_id)
        assert (state.status, state.attempts, state.result) == (Status.DONE, attempts + 1, done(PLAIN))
        assert (claim(store), store.counts("s")) == ([], {Status.DONE: 1})

    def test_a_job_that_is_done_here_keeps_its_result(self, store: Store) -> None:
        save(store, PLAIN)
        finish(store, PLAIN, lambda job: done(job, top1_pct=1.0))
        assert store.absorb(ended(PLAIN)).ended == ()
        assert store.job(PLAIN.job_id).result == done(PLAIN, top1_pct=1.0)

    def test_a_job_under_way_here_is_left_alone_and_named(self, store: Store) -> None:
        save(store, PLAIN)
        entry, lease = claim_one(store)
        absorbed = store.absorb(ended(PLAIN))
        assert (absorbed.busy, absorbed.ended) == ((PLAIN.job_id,), ())
        store.finish(lease, well(entry.job))
        assert store.job(PLAIN.job_id).result == well(PLAIN)

    def test_a_failure_there_is_no_reason_not_to_try_here(self, store: Store) -> None:
        save(store, PLAIN)
        store.absorb(ended(PLAIN, status=Status.FAILED))
        assert store.job(PLAIN.job_id).status is Status.PENDING

    @pytest.mark.parametrize(
        ("there", "here"),
        [
            (Status.LEASED, Status.PENDING),
            (Status.RUNNING, Status.PENDING),
            (Status.HELD, Status.HELD),
            (Status.CANCELLED, Status.CANCELLED),
        ],
    )
    def test_a_new_job_without_outcome_comes_as_it_was_asked_for(
        self, store: Store, there: Status, here: Status
    ) -> None:
        store.absorb(Snapshot({"s": "spec"}, (KeptJob(PLAIN, there, (Place("s", 0),)),)))
        assert store.counts("s") == {here: 1}
        assert len(claim(store)) == (here is Status.PENDING)

    def test_an_absorbed_artifact_lets_the_jobs_go_that_wait_for_it(self, store: Store) -> None:
        save(store, USER)
        assert claim(store) == []
        store.absorb(ended(MAKER, sweep="theirs"))
        assert [lease.job_id for lease in claim(store)] == [USER.job_id]

    def test_a_prepare_job_without_artifact_is_refused_and_nothing_is_absorbed(self, store: Store) -> None:
        bad = KeptJob(MAKER, Status.DONE, (), replace(done(MAKER), files={}))
        with pytest.raises(StoreError, match="names no file 'artifact'"):
            store.absorb(Snapshot({"s": "spec"}, (*ended(PLAIN).jobs, bad)))
        assert (store.sweeps(), store.jobs(), store.events()) == ((), [], [])

    def test_a_sweep_that_is_here_gains_members_and_keeps_its_spec_and_its_own(self, store: Store) -> None:
        store.save_sweep("s", "ours", entries_of(PLAIN))
        absorbed = store.absorb(ended(WAITING, PLAIN))
        assert (absorbed.sweeps, absorbed.widened, store.spec("s")) == ((), ("s",), "ours")
        assert {state.job: state.row for state in store.jobs("s")} == {PLAIN: "lora+pyra", WAITING: "theirs"}

    def test_the_log_tells_what_was_absorbed(self, store: Store) -> None:
        store.absorb(ended(PLAIN))
        found = [(event.kind, event.job_id, event.sweep) for event in store.events()]
        assert found == [("sweep_saved", None, "s"), ("job_done", PLAIN.job_id, None)]
