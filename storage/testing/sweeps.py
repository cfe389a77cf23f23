"""The part of the contract about sweeps: who belongs to one, what is known, how it is found."""

from __future__ import annotations

import pytest

from storage.records import Status
from storage.store import Entry, Store, UnknownJob, UnknownSweep
from storage.testing.fixtures import StoreFixtures, claim, claim_one, save
from storage.testing.samples import curve, done, entries_of, sample_job, sample_key


class SweepContract(StoreFixtures):
    """Saving, editing and asking."""

    def test_saving_a_sweep_twice_adds_its_jobs_once(self, store: Store) -> None:
        entries = entries_of(sample_job(0), sample_job(1))
        first, second = (store.save_sweep("s", "spec", entries) for _ in range(2))
        ids = tuple(entry.job.job_id for entry in entries)
        assert (first.new, first.known, first.dropped) == (ids, (), ())
        assert (second.new, second.known, second.dropped) == ((), ids, ())
        assert [state.job for state in store.jobs("s")] == [entry.job for entry in entries]

    def test_a_job_listed_twice_belongs_to_the_sweep_once(self, store: Store) -> None:
        save(store, sample_job(), sample_job())
        assert len(store.jobs("s")) == 1

    def test_jobs_come_back_as_they_were_saved_and_in_order(self, store: Store) -> None:
        jobs = [sample_job(seed, needs=(sample_key(seed),)) for seed in (2, 0, 1)]
        store.save_sweep("s", "spec", [Entry(job, order=9 - job.seed, row=f"row {job.seed}") for job in jobs])
        states = store.jobs("s")
        assert [state.job for state in states] == sorted(jobs, key=lambda job: -job.seed)
        assert [state.row for state in states] == ["row 2", "row 1", "row 0"]
        assert {(state.status, state.attempts, state.result) for state in states} == {(Status.PENDING, 0, None)}

    def test_an_edited_sweep_drops_and_adds_jobs_and_keeps_their_results(self, store: Store) -> None:
        a, b, c = (sample_job(seed) for seed in range(3))
        save(store, a, b)
        entry, lease = claim_one(store)
        store.finish(lease, done(entry.job))
        change = store.save_sweep("s", "edited", entries_of(b, c))
        assert (change.new, change.known, change.dropped) == ((c.job_id,), (b.job_id,), (a.job_id,))
        assert [state.job for state in store.jobs("s")] == [b, c]
        assert store.job(a.job_id).result == done(a)
        save(store, a, c)
        assert [(state.status, state.result) for state in store.jobs("s")] == [
            (Status.DONE, done(a)),
            (Status.PENDING, None),
        ]
        assert store.job(b.job_id).status is Status.PENDING

    def test_an_attempt_of_a_dropped_job_may_still_finish(self, store: Store) -> None:
        save(store, sample_job())
        entry, lease = claim_one(store)
        store.save_sweep("s", "empty", [])
        store.finish(lease, done(entry.job))
        assert store.job(lease.job_id).status is Status.DONE

    def test_a_dropped_job_is_not_claimed(self, store: Store) -> None:
        save(store, sample_job(0), sample_job(1))
        save(store, sample_job(1))
        assert claim(store, 9) and store.job(sample_job(0).job_id).attempts == 0

    def test_the_same_job_in_two_sweeps_runs_once(self, store: Store) -> None:
        save(store, sample_job(), sweep="one")
        save(store, sample_job(), sweep="two")
        entry, lease = claim_one(store, sweep="one")
        assert claim(store, sweep="two") == []
        store.finish(lease, done(entry.job))
        assert store.counts("two") == {Status.DONE: 1}
        assert store.jobs("two")[0].result == done(entry.job)
        assert claim(store, sweep="two") == []

    def test_a_job_finished_before_is_known_to_a_new_sweep(self, store: Store) -> None:
        save(store, sample_job(), sweep="one")
        entry, lease = claim_one(store, sweep="one")
        store.finish(lease, done(entry.job))
        save(store, sample_job(0), sample_job(1), sweep="two")
        assert store.counts("two") == {Status.DONE: 1, Status.PENDING: 1}

    def test_sweeps_are_listed_oldest_first_with_their_last_spec(self, store: Store) -> None:
        for name in ("b", "a", "b"):
            store.save_sweep(name, f"spec of {name}", [])
        assert store.sweeps() == ("b", "a")
        assert store.spec("b") == "spec of b"

    def test_every_question_about_an_unknown_sweep_is_an_error_that_names_the_known(self, store: Store) -> None:
        store.save_sweep("known", "", [])
        for ask in (store.spec, store.jobs, store.counts, store.leases, lambda name: store.claim(name, "me", 1, 1.0)):
            with pytest.raises(UnknownSweep, match=r"'nope'.*known"):
                ask("nope")

    def test_an_empty_sweep_has_no_jobs_and_is_no_error(self, store: Store) -> None:
        store.save_sweep("s", "", [])
        assert (store.jobs("s"), dict(store.counts("s")), claim(store)) == ([], {}, [])

    def test_counts_add_up_and_hide_nothing(self, store: Store) -> None:
        save(store, *(sample_job(seed) for seed in range(4)), sample_job(9, needs=(sample_key(),)))
        first, second, _ = claim(store, 3)
        store.start(second)
        store.finish(first, done(store.job(first.job_id).job))
        expected = {Status.DONE: 1, Status.RUNNING: 1, Status.LEASED: 1, Status.PENDING: 2}
        assert store.counts("s") == expected
        assert {status: len(store.jobs("s", status)) for status in expected} == expected

    def test_known_answers_for_known_jobs_only(self, store: Store) -> None:
        save(store, sample_job(0))
        assert store.known([sample_job(0).job_id, sample_job(1).job_id]) == {sample_job(0).job_id: Status.PENDING}
        assert store.known([]) == {}

    def test_many_ids_are_no_problem(self, store: Store) -> None:
        jobs = [sample_job(seed) for seed in range(1_200)]
        save(store, *jobs)
        ids = [job.job_id for job in jobs]
        assert len(store.known(ids)) == len(store.jobs()) == 1_200
        assert store.set_status(ids, Status.HELD) == ids

    def test_a_job_is_found_by_its_id_and_by_a_unique_beginning_of_it(self, store: Store) -> None:
        job = sample_job()
        save(store, job)
        assert store.job(job.job_id) == store.job(job.job_id[:6]) == store.job(job.job_id[:6].upper())
        assert store.job(job.job_id).row == "lora+pyra"

    def test_an_ambiguous_or_unknown_beginning_is_an_error(self, store: Store) -> None:
        jobs = [sample_job(seed) for seed in range(17)]  # 17 ids, 16 first digits
        save(store, *jobs)
        firsts = [job.job_id[0] for job in jobs]
        ambiguous = next(digit for digit in firsts if firsts.count(digit) > 1)
        with pytest.raises(UnknownJob, match="more digits"):
            store.job(ambiguous)
        for unknown in ("", "zzzz", "%", jobs[0].job_id + "0"):
            with pytest.raises(UnknownJob, match="expected an id"):
                store.job(unknown)

    def test_listings_leave_curves_out_and_one_job_comes_whole(self, store: Store) -> None:
        save(store, sample_job())
        entry, lease = claim_one(store)
        whole = done(entry.job, epochs=curve(2.0, 1.0))
        store.finish(lease, whole)
        assert store.job(lease.job_id).result == whole
        assert store.jobs("s")[0].result == done(entry.job)
        assert tuple(store.epochs(lease.job_id)) == whole.epochs
