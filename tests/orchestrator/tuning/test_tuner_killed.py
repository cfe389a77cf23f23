"""Drivers killed in the middle of searches, and searches at any speed: the same trials, and none run twice."""

import random
from collections import Counter

import pytest

from tests.orchestrator.tuning.searches import AFTER_TWO, MERGING, SPACE, Killed, merged, trained
from workers.pools.scripted import Answer


@pytest.mark.parametrize(
    "tune",
    [
        f"trials: 10, {SPACE}",
        f"trials: 10, {SPACE}, parallel: 3, pruner: hyperband",
        f"trials: 10, {SPACE}, parallel: 2, pruner: successive_halving",
        f"trials: 14, {SPACE}, sampler: nsga2, pruner: none",
        f"trials: 14, {SPACE}, sampler: random, parallel: 2",
        "trials: 14, space: {lr: {choice: [1e-3, 3e-3, 1e-2]}}",  # the same job for many trials
        "trials: 14, space: {lr: {choice: [1e-3, 3e-3, 1e-2]}}, parallel: 3, sampler: random, pruner: hyperband",
        "sampler: grid, space: {lr: {choice: [1e-3, 3e-3, 1e-1]}, gps.connections_per_neuron: {int: [3, 6]}}",
    ],
)
def test_a_driver_killed_ten_times_ends_with_the_same_trials_and_runs_none_twice(search, tune):
    assert_killing_changes_nothing(search, tune)


@pytest.mark.parametrize("rest", ["", ", parallel: 3", ", sampler: nsga2, parallel: 2", ", sampler: random"])
def test_a_driver_killed_ten_times_ends_with_the_same_front(search, rest):
    front = assert_killing_changes_nothing(search, AFTER_TWO + rest, script=merged, **MERGING)
    assert len(front) > 2


def assert_killing_changes_nothing(search, tune, **options):
    whole = search(tune, **options)
    whole.drive()
    broken, moments = search(tune, **options), random.Random(tune)
    for _ in range(10):
        with pytest.raises(Killed):
            broken.drive(kill_after=moments.randrange(3, 30))
    outcome = broken.drive()
    assert broken.trials() == whole.trials()
    assert broken.final_jobs() == whole.final_jobs() != []
    assert outcome.blocked == 0
    ended = Counter(
        event.job_id
        for event in broken.store.events(limit=100_000)
        if event.kind in ("job_done", "job_pruned", "job_failed")
    )
    assert set(ended.values()) == {1}
    assert set(ended) == {job_id for job_id, _ in whole.attempts}
    return whole.tuner.studies[0].front


@pytest.mark.parametrize("rest", ["", ", parallel: 2", ", sampler: random, pruner: none"])
def test_a_search_that_came_back_to_earlier_values_is_over_for_every_later_driver(search, rest):
    one = search(f"trials: 12, space: {{lr: {{choice: [1e-3, 3e-3, 1e-2]}}}}{rest}")
    one.drive()
    jobs = [job_id for _, job_id, _ in next(iter(one.trials().values()))]
    assert len(set(jobs)) < len(jobs) - 1, "some jobs are asked for again, with others between"
    before, ran = one.final_jobs(), len(one.attempts)
    assert before
    for _ in range(2):
        outcome = one.drive()
        assert (outcome.ran, outcome.blocked, outcome.failed) == (0, 0, 0)
        assert one.final_jobs() == before
    assert len(one.attempts) == ran


def test_how_fast_jobs_are_and_how_many_run_at_a_time_changes_no_trial(search):
    hurry = random.Random(0)

    def at_any_speed(job, epoch):
        answer = trained(job, epoch)
        return Answer(answer.duration_s * hurry.uniform(0.1, 5.0), answer.result, answer.failure, answer.epochs)

    tune = f"trials: 12, {SPACE}, parallel: 3, pruner: successive_halving"
    one, other = search(tune, slots=2), search(tune, slots=9, script=at_any_speed)
    one.drive()
    other.drive()
    assert one.trials() == other.trials()
