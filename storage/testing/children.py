"""The part of the contract about jobs that have a parent: they wait until it is done, whoever brings its result."""

from __future__ import annotations

import pytest

from storage.records import Lease, Status
from storage.snapshot import KeptJob, Place, Snapshot
from storage.store import Store
from storage.testing.fixtures import StoreFixtures, claim, claim_one, save
from storage.testing.samples import child_of, done, failed, sample_job

PARENT = sample_job()
CHILD = child_of(PARENT)


class ChildContract(StoreFixtures):
    """Order of parents and children."""

    def test_a_child_is_claimed_only_when_its_parent_is_done(self, store: Store) -> None:
        save(store, CHILD, child_of(PARENT, "robustness/imagenet_r"), PARENT)
        entry, lease = claim_one(store)
        assert (entry.job, claim(store, 9)) == (PARENT, [])
        store.start(lease)
        assert claim(store, 9) == []
        store.finish(lease, done(PARENT))
        assert [entry.job.phase for entry, _ in store.claim("s", "me", 9, 60.0)] == ["evaluate"] * 2

    def test_a_child_of_a_job_that_was_done_before_does_not_wait(self, store: Store) -> None:
        save(store, PARENT, sweep="earlier")
        ((_, lease),) = store.claim("earlier", "me", 1, 60.0)
        store.finish(lease, done(PARENT))
        save(store, PARENT, CHILD)
        assert [lease.job_id for lease in claim(store, 9)] == [CHILD.job_id]

    def test_a_child_in_another_sweep_is_let_go_too(self, store: Store) -> None:
        save(store, PARENT)
        save(store, CHILD, sweep="other")
        _, lease = claim_one(store)
        assert claim(store, sweep="other") == []
        store.finish(lease, done(PARENT))
        assert len(claim(store, sweep="other")) == 1

    def test_a_child_of_a_failed_parent_waits_until_a_retry_is_done(self, store: Store) -> None:
        save(store, PARENT, CHILD)
        _, lease = claim_one(store)
        store.finish(lease, failed(PARENT))
        assert claim(store, 9) == []
        store.set_status([PARENT.job_id], Status.PENDING)
        _, again = claim_one(store)
        store.finish(again, done(PARENT))
        assert len(claim(store, 9)) == 1

    @pytest.mark.parametrize("asked", [Status.HELD, Status.CANCELLED])
    def test_a_child_of_a_parent_that_was_set_aside_waits(self, store: Store, asked: Status) -> None:
        save(store, PARENT, CHILD)
        store.set_status([PARENT.job_id], asked)
        assert claim(store, 9) == []

    def test_a_parents_lease_that_runs_out_lets_no_child_go(self, store: Store) -> None:
        save(store, PARENT, CHILD)
        _, lease = claim_one(store)
        store.release(lease, "back")
        assert [lease.job_id for lease in claim(store, 9)] == [PARENT.job_id]

    def test_an_absorbed_parent_lets_its_children_go(self, store: Store) -> None:
        save(store, CHILD)
        assert claim(store) == []
        store.absorb(Snapshot({"theirs": "spec"}, (KeptJob(PARENT, Status.DONE, (Place("theirs", 0),), done(PARENT)),)))
        assert [lease.job_id for lease in claim(store)] == [CHILD.job_id]

    def test_absorbed_children_wait_for_their_parent(self, store: Store) -> None:
        places = (Place("s", 0), Place("s", 1))
        jobs = tuple(KeptJob(job, Status.PENDING, (at,)) for job, at in zip((CHILD, PARENT), places, strict=True))
        store.absorb(Snapshot({"s": "spec"}, jobs))
        assert [lease.job_id for lease in claim(store, 9)] == [PARENT.job_id]

    def test_a_snapshot_of_a_sweep_has_the_parents_of_its_jobs(self, store: Store) -> None:
        save(store, PARENT, sweep="earlier")
        save(store, CHILD)
        assert {kept.job for kept in store.snapshot(["s"]).jobs} == {PARENT, CHILD}

    def test_a_child_that_began_gives_its_result_like_any_job(self, store: Store) -> None:
        save(store, PARENT, CHILD)
        _, lease = claim_one(store)
        store.finish(lease, done(PARENT))
        (mine,) = claim(store)
        store.start(mine)
        store.finish(Lease(mine.job_id, mine.epoch, mine.owner, mine.expires_s), done(CHILD, 12.5))
        assert store.counts("s") == {Status.DONE: 2}
