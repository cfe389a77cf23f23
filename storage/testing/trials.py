"""The part of the contract about sweeps that grow, and the trials for which they do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage.records import Status, Trial, TrialEnd, Tuned
from storage.store import Entry, Store, StoreError, UnknownSweep
from storage.testing.fixtures import Connect, StoreFixtures, claim, claim_one, save
from storage.testing.samples import done, entries_of, sample_job, sample_key

TUNED = Tuned("a" * 16, trials=20, best=7, ties=2, params=("train.lr",))


def trial(number: int = 0, seed: int = 0, study: str = "a" * 16) -> Trial:
    return Trial(
        study, number, sample_job(seed).job_id, {"train.lr": 0.1 * (seed + 1)}, {"generation": 3}, bound=("macs", 2.5e7)
    )


class TrialContract(StoreFixtures):
    """Growing, and remembering why."""

    def test_a_sweep_that_grows_keeps_what_it_has(self, store: Store) -> None:
        save(store, sample_job(0))
        store.extend("s", [Entry(sample_job(1), 9, "late")])
        assert [(state.job, state.row) for state in store.jobs("s")] == [
            (sample_job(0), "lora+pyra"),
            (sample_job(1), "late"),
        ]
        assert len(claim(store, 9)) == 2

    def test_a_job_that_waits_for_an_artifact_waits_in_a_grown_sweep_too(self, store: Store) -> None:
        store.save_sweep("s", "spec", [])
        key = sample_key()
        store.extend("s", entries_of(sample_job(1, needs=(key,)), sample_job(makes=key)))
        ((entry, lease),) = store.claim("s", "me", 9, 60.0)
        store.finish(lease, done(entry.job))
        assert claim_one(store)[0].job == sample_job(1, needs=(key,))

    def test_a_job_that_was_done_before_is_done_in_the_grown_sweep(self, store: Store) -> None:
        save(store, sample_job(), sweep="other")
        entry, lease = claim_one(store, sweep="other")
        store.finish(lease, done(entry.job))
        store.save_sweep("s", "spec", [])
        store.extend("s", entries_of(sample_job()), [trial()])
        assert store.counts("s") == {Status.DONE: 1}

    def test_trials_are_recorded_with_their_jobs_and_come_back_in_order(self, store: Store) -> None:
        save(store)
        asked = [trial(1, 1), trial(0, 0), trial(0, 2, study="b" * 16)]
        store.extend("s", entries_of(*(sample_job(seed) for seed in range(3))), asked)
        assert store.trials(["b" * 16, "a" * 16, "unknown"]) == [asked[1], asked[0], asked[2]]
        assert store.trials([]) == []

    def test_the_first_trial_of_a_number_wins_and_the_job_of_a_later_one_is_not_added(self, connect: Connect) -> None:
        one, two = connect(), connect()
        save(one)
        assert one.extend("s", entries_of(sample_job(0)), [trial(0, 0)]) == (trial(0, 0),)
        assert two.extend("s", entries_of(sample_job(1)), [trial(0, 1)]) == (trial(0, 0),)
        assert [state.job for state in one.jobs("s")] == [sample_job(0)]
        assert one.trials(["a" * 16]) == [trial(0, 0)]
        one.close()
        two.close()

    def test_a_sweep_has_the_studies_that_its_jobs_were_asked_by(self, store: Store) -> None:
        save(store, sweep="other")
        save(store)
        store.extend("s", entries_of(sample_job(0), sample_job(1)), [trial(0, 1, study="b" * 16), trial(0, 0)])
        assert (store.studies("s"), store.studies("other")) == (("a" * 16, "b" * 16), ())
        with pytest.raises(UnknownSweep):
            store.studies("nope")

    def test_a_sweep_that_names_its_studies_has_no_others(self, store: Store) -> None:
        store.save_sweep("s", "spec", [], ["b" * 16])
        store.save_sweep("none", "spec", [], [])
        asked = [trial(0, 0, study="a" * 16), trial(0, 0, study="b" * 16)]
        for sweep in ("s", "none"):
            store.extend(sweep, entries_of(sample_job(0)), asked)
        assert (store.studies("s"), store.studies("none")) == (("b" * 16,), ())
        store.save_sweep("s", "spec", entries_of(sample_job(0)), ["a" * 16])
        assert store.studies("s") == ("a" * 16,)
        assert store.snapshot(["s"]).studies == {"s": ("a" * 16,)}

    def test_a_trial_whose_values_cannot_be_run_has_no_job(self, store: Store) -> None:
        save(store)
        refused = Trial("a" * 16, 0, None, {"tome.r": 99}, refusal="more tokens than there are")
        store.extend("s", [], [refused])
        assert store.trials(["a" * 16]) == [refused]

    def test_how_a_trial_ended_for_its_study_is_recorded_once(self, store: Store) -> None:
        save(store)
        store.extend("s", entries_of(sample_job(0), sample_job(1)), [trial(0), trial(1, 1)])
        pruned = replace(trial(1, 1), end=TrialEnd(pruned_after=3, marks={"rung": 2}))
        store.end_trials([pruned, replace(trial(9), end=TrialEnd())])
        store.end_trials([replace(trial(1, 1), end=TrialEnd()), trial(0)])
        assert store.trials(["a" * 16]) == [trial(0), pruned]

    def test_a_trial_of_an_unknown_job_or_sweep_writes_nothing(self, store: Store) -> None:
        save(store)
        with pytest.raises(StoreError, match=sample_job(0).job_id):
            store.extend("s", entries_of(sample_job(5)), [trial()])
        with pytest.raises(UnknownSweep):
            store.extend("nope", entries_of(sample_job(5)))
        assert (store.trials(["a" * 16]), store.jobs()) == ([], [])

    def test_a_member_says_which_search_chose_its_values(self, store: Store) -> None:
        save(store, sample_job(0), sample_job(1))
        store.extend("s", [Entry(sample_job(0), 0, "row", tuned=TUNED)])
        save(store, sample_job(0), sweep="other")
        assert [state.tuned for state in store.jobs("s")] == [TUNED, None]
        assert store.jobs("other")[0].tuned is None

    def test_trials_and_what_was_tuned_cross_to_another_store(self, store: Store, connect: Connect) -> None:
        save(store)
        store.extend(
            "s", [Entry(sample_job(0), 0, "row", tuned=TUNED), *entries_of(sample_job(1))], [trial(0), trial(1, 1)]
        )
        ended = replace(trial(1, 1), end=TrialEnd(pruned_after=2))
        store.end_trials([ended])
        snapshot = store.snapshot(["s"])
        assert snapshot.trials == (trial(0), ended)
        placed = {kept.job.seed: place.tuned for kept in snapshot.jobs for place in kept.places}
        assert placed == {0: TUNED, 1: None}
        from_elsewhere = replace(snapshot, trials=tuple(replace(one, study="c" * 16) for one in snapshot.trials))
        for _ in range(2):
            store.absorb(from_elsewhere)  # twice is once
        assert [(one.study, one.number) for one in store.trials(["c" * 16])] == [("c" * 16, 0), ("c" * 16, 1)]
