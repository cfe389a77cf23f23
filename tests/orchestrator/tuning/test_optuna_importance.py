"""What each parameter decided: numbers where they mean something, a reason where not."""

import random

import pytest

from methods.api import Domain
from orchestrator.tuning.optuna_importance import CHANCE, importance_of
from orchestrator.tuning.outcomes import DONE, FAILED, PRUNED, Outcome, best_of
from orchestrator.tuning.report import StudyReport, TrialReport
from orchestrator.tuning.study_record import StudyRecord, TrialRecord, study_records
from storage.records import Trial

SPACE = {"train.lr": Domain("log", (1e-4, 1e-1)), "gps.connections_per_neuron": Domain("int", (1, 15))}


def study(rows, space=SPACE):
    """Trials as (values in the order of the space, score or how else it ended)."""

    def one(number, values, end):
        params = dict(zip(space, values, strict=True))
        trial = Trial("s" * 16, number, f"{number:016x}", params)
        if isinstance(end, str):
            return TrialReport(trial, end, Outcome(end), 0, 8)
        return TrialReport(trial, DONE, Outcome(DONE, {"val_top1_pct": end}), 8, 8)

    reports = tuple(one(number, values, end) for number, (values, end) in enumerate(rows))
    best = best_of([report.outcome for report in reports])
    whole = StudyReport("s" * 16, "gps", "nano_vit", "embedded/digits", reports, best, None)
    return StudyRecord(whole, space, tuple(TrialRecord(report) for report in reports))


def drawn(count, score, seed=0):
    draw = random.Random(seed)
    points = [(10 ** draw.uniform(-4, -1), draw.randint(1, 15)) for _ in range(count)]
    return [(point, score(*point)) for point in points]


@pytest.mark.parametrize("seed", range(2))
def test_the_parameter_that_alone_decides_has_nearly_all_of_it(seed):
    of_rate = importance_of(study(drawn(60, lambda lr, k: 100 * lr, seed)))
    of_count = importance_of(study(drawn(60, lambda lr, k: float(k), seed)))
    assert of_rate.shares["train.lr"] > 0.7
    assert of_count.shares["gps.connections_per_neuron"] > 0.7
    assert next(iter(of_rate.shares)) == "train.lr"
    assert sum(of_rate.shares.values()) == pytest.approx(1)
    assert of_rate.chance["train.lr"] <= CHANCE >= of_count.chance["gps.connections_per_neuron"]


def test_it_rests_on_finished_trials_and_compares_at_least_the_best_five():
    rows = drawn(20, lambda lr, k: 100 * lr)
    found = importance_of(study([*rows, ((1e-3, 4), PRUNED), ((1e-2, 4), FAILED)]))
    assert (found.finished, found.best) == (20, 5)
    assert importance_of(study(drawn(200, lambda lr, k: 100 * lr))).best == 20


def test_trials_that_tie_with_the_fifth_best_are_among_the_best():
    rows = [((1e-3 * (1 + at), 1 + at % 5), 50.0 if at < 8 else 40.0) for at in range(20)]
    assert importance_of(study(rows)).best == 8


def test_the_same_trials_give_the_same_numbers():
    rows = drawn(30, lambda lr, k: k - 100 * lr)
    assert importance_of(study(rows)) == importance_of(study(rows))


def test_scores_drawn_at_random_are_not_told_from_chance():
    told = [
        name
        for seed in range(6)
        for name, chance in importance_of(study(noise(seed))).chance.items()
        if chance <= CHANCE
    ]
    assert len(told) <= 3  # of 12; one is expected


def noise(seed):
    draw = random.Random(1000 + seed)
    return drawn(30, lambda lr, k: draw.gauss(50, 2), seed)


def test_there_are_no_numbers_where_they_would_mean_nothing():
    few = importance_of(study(drawn(9, lambda lr, k: 100 * lr)))
    assert (few.shares, few.reason, few.finished) == ({}, "needs 10 finished trials", 9)
    fixed = importance_of(study([((1e-3, at % 5), 50.0 + at) for at in range(20)]))
    assert fixed.reason == "nothing to compare: gps.connections_per_neuron is the only one that varied"
    assert "all trials have the same values" in importance_of(study([((1e-3, 1), 1.0 * at) for at in range(20)])).reason
    equal = importance_of(study(drawn(20, lambda lr, k: 50.0)))
    assert equal.reason == "the best trials cannot be told from the rest: their scores are the same"


def test_a_search_tells_what_decided_it(search):
    one = search(
        tune="trials: 30, pruner: none, space: {lr: {log: [2e-3, 4e-3]}, gps.connections_per_neuron: {int: [1, 15]}}"
    )
    one.drive()
    for record in study_records(one.store, "s"):
        assert next(iter(importance_of(record).shares)) == "gps.connections_per_neuron"
