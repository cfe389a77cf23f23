"""The part of the contract about attempts: leases, their end, and what they leave."""

from __future__ import annotations

import math

import pytest

from storage.records import EpochMetrics, FailureClass, Lease, Result, Status
from storage.store import IllegalMove, StaleLease, Store, StoreError, UnknownJob
from storage.testing.fixtures import StoreFixtures, claim, claim_one, save
from storage.testing.samples import VirtualClock, curve, done, failed, sample_job, sample_key


class AttemptContract(StoreFixtures):
    """From claim to finish."""

    def test_jobs_are_claimed_in_order_each_once(self, store: Store) -> None:
        jobs = [sample_job(seed) for seed in range(5)]
        save(store, *jobs)
        claimed = [*claim(store, 2), *claim(store, 2), *claim(store, 2), *claim(store, 0)]
        assert [lease.job_id for lease in claimed] == [job.job_id for job in jobs]

    def test_a_claim_can_be_restricted_to_some_jobs(self, store: Store) -> None:
        jobs = [sample_job(seed) for seed in range(4)]
        save(store, *jobs)
        wanted = [jobs[3].job_id, jobs[1].job_id]
        taken = [lease.job_id for _, lease in store.claim("s", "me", 9, 60.0, wanted)]
        assert sorted(taken) == sorted(wanted)
        assert store.claim("s", "me", 9, 60.0, wanted) == []
        assert store.claim("s", "me", 9, 60.0, []) == []
        assert len(claim(store, 9)) == 2

    def test_a_claim_hands_out_the_entry_and_a_lease_by_the_stores_clock(
        self, store: Store, clock: VirtualClock
    ) -> None:
        job = sample_job()
        save(store, job)
        ((entry, lease),) = store.claim("s", "me", 1, 30.0)
        assert (entry.job, entry.order, entry.row, entry.resources) == (job, 0, "lora+pyra", {"cpus": 1.0})
        assert lease == Lease(job.job_id, 1, "me", clock.now_s + 30.0)
        assert store.leases("s") == [lease]
        assert store.job(job.job_id).status is Status.LEASED

    def test_a_job_waits_until_all_it_needs_exists(self, store: Store) -> None:
        one, two = sample_key(1), sample_key(2)
        save(store, sample_job(needs=(one, two)), sample_job(makes=one), sample_job(makes=two))
        makers = store.claim("s", "me", 9, 60.0)
        assert [entry.job.makes for entry, _ in makers] == [one, two]
        for entry, lease in makers:
            assert claim(store, 9) == []
            store.finish(lease, done(entry.job))
        entry, _ = claim_one(store)
        assert entry.job.needs == (one, two)

    def test_an_artifact_made_earlier_serves_a_later_sweep(self, store: Store) -> None:
        key = sample_key()
        save(store, sample_job(makes=key))
        entry, lease = claim_one(store)
        store.finish(lease, done(entry.job))
        assert store.artifacts([key, sample_key(1)]) == {key.key_id: f"artifacts/{key.key_id}.safetensors"}
        save(store, sample_job(needs=(key,)), sweep="later")
        assert len(claim(store, sweep="later")) == 1

    def test_a_failed_prepare_job_makes_no_artifact(self, store: Store) -> None:
        key = sample_key()
        save(store, sample_job(makes=key), sample_job(needs=(key,)))
        entry, lease = claim_one(store)
        store.finish(lease, failed(entry.job))
        assert (store.artifacts([key]), claim(store, 9)) == ({}, [])

    def test_a_prepare_job_that_names_no_artifact_is_not_done(self, store: Store) -> None:
        save(store, sample_job(makes=sample_key()))
        entry, lease = claim_one(store)
        with pytest.raises(StoreError, match="names no file 'artifact'"):
            store.finish(lease, Result(job_id=entry.job.job_id, status=Status.DONE))
        assert store.job(lease.job_id).status is Status.LEASED

    def test_start_makes_a_leased_job_running_and_may_be_repeated(self, store: Store) -> None:
        save(store, sample_job())
        (lease,) = claim(store)
        for _ in range(2):
            store.start(lease)
        assert store.job(lease.job_id).status is Status.RUNNING
        assert store.leases("s") == [lease]

    def test_a_renewed_lease_does_not_expire(self, store: Store, clock: VirtualClock) -> None:
        save(store, sample_job(0), sample_job(1))
        kept, lost = claim(store, 2, ttl_s=60.0)
        clock.advance(59)
        renewed = store.renew([kept], 60.0)
        assert renewed[kept.job_id].expires_s == clock.now_s + 60.0
        clock.advance(1)
        assert store.expire() == [lost.job_id]
        assert store.expire() == []
        assert set(store.renew([kept, lost], 60.0)) == {kept.job_id}
        assert store.renew([], 60.0) == {}

    def test_an_expired_job_is_pending_again_and_its_next_lease_has_a_higher_epoch(
        self, store: Store, clock: VirtualClock
    ) -> None:
        save(store, sample_job())
        (old,) = claim(store)
        store.start(old)
        clock.advance(3600)
        assert store.expire() == [old.job_id]
        state = store.job(old.job_id)
        assert (state.status, state.attempts, store.counted_failures(old.job_id)) == (Status.PENDING, 1, 0)
        (new,) = claim(store, owner="other")
        assert new.epoch == old.epoch + 1
        assert store.job(old.job_id).attempts == 2

    def test_a_stale_lease_writes_nothing(self, store: Store, clock: VirtualClock) -> None:
        save(store, sample_job())
        entry, old = claim_one(store)
        clock.advance(3600)
        store.expire()
        (new,) = claim(store, owner="other")
        before = (store.job(old.job_id), store.events())
        with pytest.raises(StaleLease, match="Nothing was written"):
            store.start(old)
        with pytest.raises(StaleLease, match="Nothing was written"):
            store.release(old, "late")
        with pytest.raises(StaleLease, match="Nothing was written"):
            store.finish(old, done(entry.job))
        store.record_epoch(old, EpochMetrics(1, {"train_loss": 1.0}, 1.0))
        assert store.renew([old], 60.0) == {}
        assert (store.job(old.job_id), store.events()) == before
        assert (store.epochs(old.job_id), store.leases("s")) == ([], [new])

    def test_a_result_that_comes_after_expiry_counts_while_no_other_attempt_began(
        self, store: Store, clock: VirtualClock
    ) -> None:
        save(store, sample_job())
        entry, lease = claim_one(store)
        clock.advance(3600)
        store.expire()
        store.finish(lease, done(entry.job))
        assert store.job(lease.job_id).status is Status.DONE
        assert claim(store) == []

    def test_a_result_of_a_released_attempt_is_stale(self, store: Store) -> None:
        save(store, sample_job())
        entry, lease = claim_one(store)
        store.release(lease, "stopped")
        with pytest.raises(StaleLease):
            store.finish(lease, done(entry.job))

    def test_a_finished_job_is_never_overwritten(self, store: Store) -> None:
        save(store, sample_job())
        entry, lease = claim_one(store)
        first = done(entry.job, epochs=curve(1.0))
        store.finish(lease, first)
        for late in (done(entry.job, top1_pct=1.0), failed(entry.job)):
            with pytest.raises(StaleLease):
                store.finish(lease, late)
        assert store.job(lease.job_id).result == first

    @pytest.mark.parametrize("status", [status for status in Status if status.is_finished])
    def test_a_finish_sets_the_results_status_and_frees_the_lease(self, store: Store, status: Status) -> None:
        save(store, sample_job())
        entry, lease = claim_one(store)
        store.finish(lease, Result(job_id=entry.job.job_id, status=status))
        state = store.job(lease.job_id)
        assert (state.status, state.result) == (status, Result(job_id=entry.job.job_id, status=status))
        assert (store.leases("s"), claim(store)) == ([], [])

    def test_results_that_cannot_be_are_refused(self, store: Store) -> None:
        save(store, sample_job(0), sample_job(1))
        entry, lease = claim_one(store)
        with pytest.raises(StoreError, match=sample_job(1).job_id):
            store.finish(lease, done(sample_job(1)))
        with pytest.raises(IllegalMove, match="'running'"):
            store.finish(lease, Result(job_id=entry.job.job_id, status=Status.RUNNING))
        with pytest.raises(UnknownJob):
            store.finish(Lease(sample_job(7).job_id, 1, "me", 0.0), done(sample_job(7)))
        assert store.job(lease.job_id).status is Status.LEASED

    def test_a_result_keeps_all_it_carries_even_what_is_not_a_number(self, store: Store) -> None:
        save(store, sample_job())
        entry, lease = claim_one(store)
        result = Result(
            job_id=entry.job.job_id,
            status=Status.FAILED,
            metrics={"train_loss": math.inf, "val_top1_pct": 0.1 + 0.2},
            epochs=curve(2.5, math.inf),
            failure=failed(entry.job).failure,
            files={"log": "logs/ä.log"},
            facts={"device": "cpu", "note": "“quoted” %s"},
        )
        store.finish(lease, result)
        assert store.job(lease.job_id).result == result

    def test_only_failures_of_the_jobs_own_are_counted(self, store: Store) -> None:
        save(store, sample_job())
        counts = []
        for counted in (False, True, False, True):
            (lease,) = claim(store)
            store.release(lease, "crash" if counted else "node_lost", counted=counted)
            counts.append(store.counted_failures(lease.job_id))
        assert counts == [0, 1, 1, 2]
        assert store.job(lease.job_id).status is Status.PENDING

    @pytest.mark.parametrize(("failure", "count"), [(FailureClass.DIVERGED, 1), (FailureClass.NODE_LOST, 0)])
    def test_a_final_failure_counts_if_it_was_the_jobs_own(
        self, store: Store, failure: FailureClass, count: int
    ) -> None:
        save(store, sample_job())
        entry, lease = claim_one(store)
        store.finish(lease, failed(entry.job, failure))
        assert store.counted_failures(lease.job_id) == count

    def test_the_curve_of_a_running_job_can_be_read(self, store: Store) -> None:
        save(store, sample_job())
        (lease,) = claim(store)
        store.start(lease)
        for epoch in curve(3.0, 2.0):
            store.record_epoch(lease, epoch)
        assert tuple(store.epochs(lease.job_id)) == curve(3.0, 2.0)

    def test_a_resumed_attempt_goes_on_with_the_curve_and_a_new_one_replaces_it(self, store: Store) -> None:
        save(store, sample_job())
        (lease,) = claim(store)
        for epoch in curve(3.0, 2.0, 1.0):
            store.record_epoch(lease, epoch)
        store.release(lease, "preempted")
        (resumed,) = claim(store)
        store.record_epoch(resumed, EpochMetrics(2, {"train_loss": 2.5}, 1.0))
        assert tuple(store.epochs(lease.job_id)) == curve(3.0, 2.5)
        store.release(resumed, "preempted")
        (anew,) = claim(store)
        store.record_epoch(anew, EpochMetrics(1, {"train_loss": 9.0}, 0.5))
        assert tuple(store.epochs(lease.job_id)) == curve(9.0)

    def test_the_result_decides_the_curve_and_a_crash_leaves_what_was_seen(self, store: Store) -> None:
        save(store, sample_job(0), sample_job(1))
        for final, expected in ((done, curve(0.5)), (failed, curve(3.0, 2.0))):
            entry, lease = claim_one(store)
            for epoch in curve(3.0, 2.0):
                store.record_epoch(lease, epoch)
            store.finish(lease, done(entry.job, epochs=curve(0.5)) if final is done else failed(entry.job))
            assert tuple(store.epochs(lease.job_id)) == expected
