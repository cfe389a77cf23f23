"""Suggestions and verdicts as functions of (study, number, history): whoever asks, and however often."""

import math
import time

import pytest

from methods.api import Domain
from orchestrator.tuning.optuna_study import OptunaStudy, grid_point, grid_size
from orchestrator.tuning.outcomes import DIVERGED, DONE, FAILED, LOSS, PRUNED, SCORE, SIZE, Outcome, Past, best_of

SPACE = {
    "train.lr": Domain("log", (1e-4, 1e-1)),
    "train.drop_path": Domain("uniform", (0, 0.5)),
    "gps.connections_per_neuron": Domain("int", (1, 15)),
    "train.optimizer": Domain("choice", ("adamw", "sgd")),
}


def outcome(params, number):
    """Every way in which a trial can end."""
    score = 60 - 10 * abs(math.log10(params["train.lr"]) + 2.5) - abs(params["gps.connections_per_neuron"] - 6)
    curve = tuple((epoch, score * epoch / 8) for epoch in range(1, 9))
    if number % 7 == 3:
        return Outcome(DIVERGED)
    if number % 11 == 5:
        return Outcome(FAILED)
    if number % 5 == 4:
        return Outcome(PRUNED, curve=curve[:3])
    return Outcome(DONE, {SCORE: round(score), "macs": 1e9 * (1 + params["gps.connections_per_neuron"])}, curve)


def after(*objectives, sampler="tpe"):
    return OptunaStudy("s", SPACE, sampler, "none", 8).toward(objectives)


def asked(sampler, trials, parallel, study=None, objectives=(SCORE,)):
    """The past that one study leads to; a fresh one per ask where there is none."""
    past = []
    for number in range(trials):
        late = range(max(0, number - parallel + 1), number)
        seen = [*past[: late.start], *(Past(past[at].params, past[at].attrs) for at in late)]
        asking = study or OptunaStudy("s", SPACE, sampler, "median", 8).toward(objectives)
        params, attrs = asking.ask(seen)
        past.append(Past(params, attrs, outcome(params, number)))
    return past


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_a_study_that_was_kept_and_one_built_anew_ask_for_the_same(sampler, parallel):
    kept = asked(sampler, 40, parallel, OptunaStudy("s", SPACE, sampler, "median", 8))
    assert kept == asked(sampler, 40, parallel)


@pytest.mark.parametrize("parallel", [1, 4, 12])
@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_so_do_studies_after_two_objectives(sampler, parallel):
    two = (SCORE, "macs")
    assert asked(sampler, 60, parallel, after(*two, sampler=sampler)) == asked(sampler, 60, parallel, objectives=two)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_a_search_after_two_objectives_covers_more_of_the_front_than_one_after_accuracy(sampler):
    def cheap(*objectives):
        past = asked(sampler, 80, 1, after(*objectives, sampler=sampler))
        return sum(one.params["gps.connections_per_neuron"] <= 3 for one in past[20:])

    assert cheap(SCORE, "macs") > cheap(SCORE)


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_every_suggestion_lies_in_its_domain_and_studies_differ_by_name(sampler):
    for one in asked(sampler, 30, 1):
        assert 1e-4 <= one.params["train.lr"] <= 1e-1
        assert 0 <= one.params["train.drop_path"] <= 0.5
        assert one.params["gps.connections_per_neuron"] in range(1, 16)
        assert one.params["train.optimizer"] in ("adamw", "sgd")
    first = [OptunaStudy(name, SPACE, sampler, "none", 8).ask([])[0]["train.lr"] for name in ("s", "t")]
    assert first[0] != first[1]


def test_tpe_finds_better_values_than_chance():
    best = {
        sampler: max(one.outcome.score for one in asked(sampler, 60, 1) if one.outcome.state == DONE)
        for sampler in ("tpe", "random")
    }
    assert best["tpe"] >= best["random"]


def test_a_grid_visits_every_point_once():
    space = {"a": Domain("choice", ("x", "y")), "b": Domain("int", (3, 5))}
    points = [tuple(grid_point(space, number).items()) for number in range(grid_size(space))]
    assert len(set(points)) == 6
    assert points[:3] == [(("a", "x"), ("b", 3)), (("a", "x"), ("b", 4)), (("a", "x"), ("b", 5))]
    with pytest.raises(IndexError):
        grid_point(space, 6)


def test_a_grid_is_counted_without_listing_it():
    space = {"a": Domain("int", (1, 10**12)), "b": Domain("choice", ("x", "y"))}
    assert grid_size(space) == 2 * 10**12
    assert grid_point(space, 2 * 10**12 - 1) == {"a": 10**12, "b": "y"}


@pytest.mark.parametrize("pruner", ["median", "successive_halving", "hyperband"])
def test_a_trial_that_is_far_behind_is_pruned_and_the_best_is_not(pruner):
    past = []
    for number in range(24):
        score = 50.0 + number % 6
        curve = tuple((epoch, score * epoch / 9) for epoch in range(1, 10))
        judge = OptunaStudy("s", SPACE, "tpe", pruner, 9).judge(past)
        for epoch, value in curve:
            judge.prunes(epoch, value)
        past.append(Past({}, {}, Outcome(DONE, {SCORE: score}, curve, marks=judge.marks)))

    def is_pruned(score, number):
        judge = OptunaStudy("s", SPACE, "tpe", pruner, 9).judge(past[:number])
        return any(judge.prunes(epoch, score * epoch / 9) for epoch in range(1, 9))

    numbers = range(18, 24)  # hyperband lets some numbers go on to their end, whatever they reach
    assert any(is_pruned(10.0, number) for number in numbers)
    assert not any(is_pruned(90.0, number) for number in numbers)


LARGE = pytest.mark.parametrize(
    ("sampler", "objectives"), [("tpe", (SCORE,)), ("tpe", (SCORE, "macs")), ("nsga2", (SCORE, "macs"))]
)


def asks_s(sampler, objectives):
    """CPU seconds of each of ten asks and tells behind a thousand trials."""
    filler = sampler if sampler == "nsga2" else "random"  # of NSGA-II a hundred generations
    past = asked(filler, 1000, 1, after(*objectives, sampler=filler))
    study = after(*objectives, sampler=sampler)
    params, attrs = study.ask(past)  # builds the study, once per driver
    found = []
    for number in range(1000, 1010):
        began_s = time.process_time()
        past.append(Past(params, attrs, outcome(params, number)))
        params, attrs = study.ask(past)
        found.append(time.process_time() - began_s)
    return found


@LARGE
def test_an_ask_can_take_less_than_fifty_ms_at_a_thousand_trials(sampler, objectives):
    """The quickest of ten: other tests run beside this one."""
    assert min(asks_s(sampler, objectives)) < 0.05


@pytest.mark.slow
@LARGE
def test_asks_take_less_than_fifty_ms_on_average_where_nothing_runs_beside_them(sampler, objectives):
    assert sum(asks_s(sampler, objectives)) / 10 < 0.05


def test_what_breaks_the_constraint_is_neither_best_nor_asked_for_again():
    study, past = OptunaStudy("s", {"t.rate": Domain("uniform", (0, 1))}, "tpe", "none", 8), []
    for _ in range(60):
        params, attrs = study.ask(past)
        rate = params["t.rate"]
        past.append(Past(params, attrs, Outcome(DONE, {SCORE: round(100 * rate)}, violation=rate - 0.4)))
    outcomes = [one.outcome for one in past]
    best = best_of(outcomes)
    assert outcomes[best.number].score == max(one.score for one in outcomes if one.is_feasible) > 30
    late = [one.params["t.rate"] for one in past[30:]]
    assert sum(rate <= 0.45 for rate in late) > 20


def done(score, loss=1.0, size=10.0, violation=None):
    return Outcome(DONE, {SCORE: score, LOSS: loss, SIZE: size}, violation=violation)


def test_ties_are_broken_by_loss_then_by_size_then_by_number():
    assert best_of([done(50), done(60, 2.0), done(60, 1.5)]).number == 2
    assert best_of([done(60, 1.0, 20), done(60, 1.0, 10)]).number == 1
    assert best_of([done(60), done(60)]).number == 0
    assert best_of([done(60, 2.0), done(60, 1.0), done(60, 3.0), done(59)]).tied == (0, 2)


def test_nothing_is_best_where_nothing_has_finished_well():
    assert best_of([]) is None
    assert best_of([None, Outcome(FAILED), Outcome(PRUNED, curve=((1, 90.0),)), Outcome(DIVERGED)]) is None
    assert best_of([done(90, violation=0.1)]) is None
