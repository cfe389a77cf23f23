"""The part of the contract about what people ask for, and about the log that tells all changes."""

from __future__ import annotations

import pytest

from storage.records import Lease, Result, Status
from storage.store import IllegalMove, StaleLease, Store, UnknownJob
from storage.testing.fixtures import StoreFixtures, claim, claim_one, save
from storage.testing.samples import VirtualClock, curve, done, failed, sample_job, sample_key

LEGAL = {
    (Status.PENDING, Status.HELD),
    (Status.PENDING, Status.CANCELLED),
    (Status.HELD, Status.PENDING),
    (Status.HELD, Status.CANCELLED),
    (Status.LEASED, Status.CANCELLED),
    (Status.RUNNING, Status.CANCELLED),
    (Status.FAILED, Status.PENDING),
    (Status.CANCELLED, Status.PENDING),
    (Status.PRUNED, Status.PENDING),
}
"""(before, asked for): every other pair changes nothing."""

ASKABLE = (Status.PENDING, Status.HELD, Status.CANCELLED)


def brought_to(store: Store, status: Status) -> Lease:
    """Save one job and bring it into that state; its last lease."""
    save(store, sample_job())
    (lease,) = claim(store)
    if status is Status.RUNNING:
        store.start(lease)
    elif status.is_finished:
        store.finish(lease, Result(job_id=lease.job_id, status=status))
    elif status is not Status.LEASED:
        store.release(lease, "back")
        if status is Status.HELD:
            store.set_status([lease.job_id], Status.HELD)
    return lease


class RequestContract(StoreFixtures):
    """hold, cancel, retry; and the log."""

    @pytest.mark.parametrize("before", list(Status))
    @pytest.mark.parametrize("asked", ASKABLE)
    def test_a_request_moves_a_job_only_where_that_is_legal(self, store: Store, before: Status, asked: Status) -> None:
        lease = brought_to(store, before)
        assert store.job(lease.job_id).status is before
        moved = store.set_status([lease.job_id], asked)
        assert moved == ([lease.job_id] if (before, asked) in LEGAL else [])
        after = asked if (before, asked) in LEGAL else before
        assert store.job(lease.job_id).status is after
        assert store.counts("s") == {after: 1}

    @pytest.mark.parametrize("status", [status for status in Status if status not in ASKABLE])
    def test_what_only_the_loop_may_set_cannot_be_asked_for(self, store: Store, status: Status) -> None:
        save(store, sample_job())
        with pytest.raises(IllegalMove, match=f"'{status.value}'.*expected one of"):
            store.set_status([sample_job().job_id], status)
        assert store.job(sample_job().job_id).status is Status.PENDING

    def test_a_request_for_an_unknown_job_changes_nothing(self, store: Store) -> None:
        save(store, sample_job(0))
        with pytest.raises(UnknownJob):
            store.set_status([sample_job(0).job_id, sample_job(1).job_id], Status.HELD)
        assert store.job(sample_job(0).job_id).status is Status.PENDING
        assert store.set_status([], Status.HELD) == []

    def test_held_and_cancelled_jobs_are_not_claimed(self, store: Store) -> None:
        jobs = [sample_job(seed) for seed in range(3)]
        save(store, *jobs)
        store.set_status([jobs[0].job_id], Status.HELD)
        store.set_status([jobs[1].job_id], Status.CANCELLED)
        assert [lease.job_id for lease in claim(store, 9)] == [jobs[2].job_id]
        store.set_status([job.job_id for job in jobs], Status.PENDING)
        assert [lease.job_id for lease in claim(store, 9)] == [jobs[0].job_id, jobs[1].job_id]

    def test_releasing_a_hold_does_not_let_a_job_start_without_its_artifact(self, store: Store) -> None:
        job = sample_job(needs=(sample_key(),))
        save(store, job)
        store.set_status([job.job_id], Status.HELD)
        store.set_status([job.job_id], Status.PENDING)
        assert claim(store) == []

    def test_the_holder_of_a_cancelled_job_learns_it_when_it_renews(self, store: Store) -> None:
        lease = brought_to(store, Status.RUNNING)
        store.set_status([lease.job_id], Status.CANCELLED)
        assert (store.renew([lease], 60.0), store.leases("s")) == ({}, [])
        with pytest.raises(StaleLease):
            store.finish(lease, done(sample_job()))
        assert store.job(lease.job_id).status is Status.CANCELLED

    def test_saving_the_sweep_again_does_not_wake_failed_or_cancelled_jobs(self, store: Store) -> None:
        save(store, sample_job(0), sample_job(1))
        entry, lease = claim_one(store)
        store.finish(lease, failed(entry.job))
        store.set_status([sample_job(1).job_id], Status.CANCELLED)
        save(store, sample_job(0), sample_job(1))
        assert store.counts("s") == {Status.FAILED: 1, Status.CANCELLED: 1}

    def test_a_retry_starts_with_a_clean_slate_and_its_result_replaces_the_failed_one(self, store: Store) -> None:
        save(store, sample_job())
        entry, lease = claim_one(store)
        store.finish(lease, failed(entry.job))
        assert store.job(lease.job_id).result == failed(entry.job)
        assert store.set_status([lease.job_id], Status.PENDING) == [lease.job_id]
        state = store.job(lease.job_id)
        assert (state.result, state.attempts, store.counted_failures(lease.job_id)) == (None, 1, 0)
        _, again = claim_one(store)
        assert again.epoch == lease.epoch + 1
        store.finish(again, done(entry.job))
        assert store.job(lease.job_id).result == done(entry.job)

    def test_the_log_tells_every_change_in_order_with_growing_ids(self, store: Store, clock: VirtualClock) -> None:
        save(store, sample_job(0), sample_job(1))
        (lost,) = claim(store)
        clock.advance(3600)
        store.expire()
        entry, lease = claim_one(store)
        store.start(lease)
        store.record_epoch(lease, curve(1.0)[0])
        store.release(lease, "preempted: spot", counted=True)
        _, lease = claim_one(store)
        store.finish(lease, failed(entry.job))
        store.set_status([lease.job_id], Status.PENDING)
        events = store.events()
        assert [event.kind for event in events] == [
            *("sweep_saved", "lease", "expire", "lease", "job_running", "progress", "release", "lease"),
            *("job_failed", "job_pending"),
        ]
        assert [event.event_id for event in events] == sorted({event.event_id for event in events})
        assert {event.job_id for event in events[1:]} == {lost.job_id}
        assert {event.sweep for event in events if event.kind in ("lease", "job_running", "job_failed")} == {"s"}
        assert (events[1].at_s, events[2].at_s) == (1_000_000.0, clock.now_s)
        assert events[6].data == {"epoch": 2, "cause": "preempted: spot", "counted": True}
        assert events[8].data["failure_class"] == "diverged"

    def test_the_log_is_read_in_portions_from_where_one_stopped(self, store: Store) -> None:
        for number in range(5):
            store.append_event("note", {"number": number}, job_id="a")
        first = store.events(limit=2)
        rest = store.events(after=first[-1].event_id)
        assert [event.data["number"] for event in [*first, *rest]] == [0, 1, 2, 3, 4]
        assert store.events(after=rest[-1].event_id) == []

    def test_events_of_one_kind_are_read_without_the_others(self, store: Store) -> None:
        store.append_event("mine", {"n": 1})
        store.append_event("other", {})
        store.append_event("mine", {"n": 2})
        found = store.events(kind="mine")
        assert [event.data["n"] for event in found] == [1, 2]
        assert store.events(after=found[0].event_id, kind="mine") == found[1:]

    def test_a_refused_change_leaves_no_line_in_the_log(self, store: Store) -> None:
        lease = brought_to(store, Status.DONE)
        before = store.events()
        with pytest.raises(StaleLease):
            store.start(lease)
        store.set_status([lease.job_id], Status.CANCELLED)
        assert store.events() == before
