"""The tuner in the loop, in virtual time: the same trials whatever happens to the driver, and the best ones run."""

from collections import Counter
from dataclasses import replace
from importlib.metadata import version

import pytest

from orchestrator.report import csv, json_, md, term
from orchestrator.report.build import leaderboard
from orchestrator.tuning.outcomes import DIVERGED, PRUNED
from orchestrator.tuning.report import study_reports
from orchestrator.tuning.tuner import Tuner
from storage.records import FailureClass, Phase, Status
from storage.records.tuned import ASKED_BY
from tests.orchestrator.tuning.searches import EPOCHS, SPACE, Killed, planned, spec_text, trained
from workers.pools.scripted import Answer, failed


def test_every_cell_gets_its_trials_and_then_its_best_values_with_every_seed(search):
    one = search()
    outcome = one.drive()
    assert [len(trials) for trials in one.trials().values()] == [12, 12]
    finals = one.finals()
    assert len(finals) == 4
    assert (outcome.failed, outcome.blocked) == (0, 0)
    for study in one.tuner.studies:
        best = max(outcome.score for outcome in study.outcomes if outcome.state == "done")
        assert study.outcomes[study.best.number].score == best
        values = study.trials[study.best.number].params
        for seed in (0, 1):
            lr, methods = finals[study.cell.point.dataset.name, seed]
            assert lr == pytest.approx(values["train.lr"])
            assert dict(methods[0].params)["connections_per_neuron"] == values["gps.connections_per_neuron"]


def test_data_sets_are_tuned_apart(search):
    one = search(f"trials: 20, {SPACE}, pruner: none")
    one.drive()
    chosen = {
        dataset: dict(methods[0].params)["connections_per_neuron"]
        for (dataset, _), (_, methods) in one.finals().items()
    }
    assert chosen["embedded/digits"] < chosen["embedded/location"]


def test_the_same_sweep_again_asks_and_runs_nothing(search):
    one = search()
    one.drive()
    before, made = one.trials(), len(one.attempts)
    assert one.drive().ran == 0
    assert (one.trials(), len(one.attempts)) == (before, made)
    assert one.tuner.is_finished


def test_a_larger_budget_goes_on_where_the_smaller_one_ended(search, tmp_path):
    one = search(f"trials: 6, {SPACE}")
    one.drive()
    few = one.trials()
    one.text = spec_text(f"trials: 10, {SPACE}")
    one.drive()
    assert {cell: trials[:6] for cell, trials in one.trials().items()} == few
    assert {len(trials) for trials in one.trials().values()} == {10}
    finals = [state for state in one.store.jobs("s") if state.job.phase is Phase.FINAL]
    assert len(finals) == 4  # those of the smaller budget have left the sweep where the best values changed
    assert {state.tuned.trials for state in finals} == {10}


@pytest.mark.parametrize(
    ("budget", "rest"), [("hours: 0.1", "seeds: 2"), ("gpu_hours: 0.05", "seeds: 2\nresources: {gpus: 0.5}")]
)
def test_a_budget_in_hours_ends_a_study(search, budget, rest):
    one = search(f"{budget}, {SPACE}, pruner: none", datasets="[embedded/digits]", rest=rest)
    one.drive()
    (study,) = one.tuner.studies
    spent_s = [outcome.wall_s for outcome in study.outcomes]
    assert sum(spent_s) >= 360 > sum(spent_s[:-1])


def test_a_job_that_two_trials_ask_for_runs_once(search):
    one = search("trials: 12, space: {gps.connections_per_neuron: {int: [3, 5]}}", datasets="[embedded/digits]")
    one.drive()
    ((_, trials),) = one.trials().items()
    ids = Counter(job_id for _, job_id, _ in trials)
    assert (len(trials), len(ids)) == (12, 3)
    assert len(one.states(Status.DONE)) + len(one.states(Status.PRUNED)) == 3
    assert max(Counter(one.attempts).values()) == 1


def test_diverged_trials_are_told_so_that_the_search_leaves_their_region(search):
    one = search("trials: 30, pruner: none, space: {lr: {log: [1e-4, 10]}}", datasets="[embedded/digits]")
    outcome = one.drive()
    (study,) = one.tuner.studies
    diverged = [number for number, one in enumerate(study.outcomes) if one.state == DIVERGED]
    assert outcome.failed == 0  # a search that found values has not failed
    early, late = sum(number < 10 for number in diverged), sum(number >= 20 for number in diverged)
    assert early > late


def test_a_study_without_any_value_fails_the_sweep_and_adds_no_final_job(search):
    one = search(f"trials: 3, {SPACE}", script=failing)
    outcome = one.drive()
    assert (len(one.finals()), outcome.blocked) == (0, 2)  # what two studies owe: the command ends with exit code 3
    assert outcome.failed == 6


def failing(job, epoch):
    return trained(job, epoch) if job.phase is Phase.PREPARE else Answer(1.0, failed(job, FailureClass.USER_ERROR))


@pytest.mark.parametrize("pruner", ["median", "successive_halving", "hyperband"])
def test_pruned_jobs_end_early_and_are_recorded_with_the_epochs_they_trained(search, pruner):
    one = search(f"trials: 14, {SPACE}, sampler: random, pruner: {pruner}", datasets="[embedded/digits]")
    one.drive()
    pruned = one.states(Status.PRUNED)
    assert pruned
    for state in pruned:
        curve = one.store.epochs(state.job.job_id)
        assert [epoch.epoch for epoch in curve] == list(range(1, len(curve) + 1))
        assert len(curve) < EPOCHS
        assert state.result.facts["pruned_after_epoch"] == str(len(curve))
    told = [outcome for study in one.tuner.studies for outcome in study.outcomes if outcome.state == PRUNED]
    assert len(told) == len(pruned)


def test_a_pruner_saves_time_and_its_best_values_are_nearly_as_good(search):
    best = {}
    for pruner in ("none", "median"):
        one = search(f"trials: 24, {SPACE}, pruner: {pruner}", slots=1, datasets="[embedded/digits]")
        began_s = one.clock()
        one.drive()
        scores = [study.outcomes[study.best.number].score for study in one.tuner.studies]
        best[pruner] = (one.clock() - began_s, sum(scores))
    assert best["median"][0] < 0.9 * best["none"][0]
    assert best["median"][1] > best["none"][1] - 2


def test_two_drivers_on_one_store_ask_for_the_same_trials(search):
    one = search(f"trials: 6, {SPACE}")
    made = planned(one.text)
    one.store.save_sweep("s", one.text, [])
    first, second = (Tuner(one.store, "s", made.cells) for _ in range(2))
    assert [entry.job for entry in first.more()] == [entry.job for entry in second.more()]
    assert {len(trials) for trials in one.trials().values()} == {1}
    one.drive()
    before = one.trials()
    assert second.more()  # all that the other one did, in one pass
    assert one.trials() == before
    assert second.is_finished


def test_a_job_that_waits_for_a_person_keeps_its_study_waiting(search):
    one = search(f"trials: 4, {SPACE}", datasets="[embedded/digits]")
    with pytest.raises(Killed):
        one.drive(kill_after=2)
    held = [state.job.job_id for state in one.store.jobs("s", Status.PENDING) if state.job.phase is Phase.SEARCH]
    one.store.set_status(held, Status.HELD)
    assert one.drive().blocked == 1  # the study owes its final jobs
    one.store.set_status(held, Status.PENDING)
    assert one.drive().blocked == 0
    assert len(one.finals()) == 2


def test_merging_is_searched_within_its_bound(search):
    def of_little_merging(job, epoch):
        answer = trained(job, epoch)
        if job.phase is not Phase.SEARCH:
            return answer
        removed = sum(job.methods[1].kwargs["schedule"])
        metrics = {"val_top1_pct": 90.0 - removed / 4, "val_loss": 1.0, "macs": 48.7e6 * (1 - removed / 80)}
        return Answer(30.0, replace(answer.result, metrics=metrics, epochs=()))

    tune = "trials: 16, constraint: macs <= 0.5, space: {tome.mac_ratio: {uniform: [0.3, 0.95]}}"
    one = search(tune, script=of_little_merging, methods="[[lora, tome]]", datasets="[embedded/digits]")
    one.drive()
    (study,) = one.tuner.studies
    outcomes = [outcome for outcome in study.outcomes if outcome.is_feasible]
    assert 0 < len(outcomes) < 16
    best = study.outcomes[study.best.number]
    assert best.metrics["macs"] <= study.cell.bound[1]
    assert best.score == max(outcome.score for outcome in outcomes)
    (report,) = study_reports(one.store, "s")
    assert report.best.number == study.best.number
    assert sum(trial.outcome.is_feasible for trial in report.trials) == len(outcomes)


def test_who_watches_sees_what_is_still_to_come(search):
    one = search(f"trials: 5, {SPACE}", datasets="[embedded/digits]")
    totals = []
    one.seen = lambda progress: totals.append((progress.done, progress.total))
    one.drive()
    assert totals[0][1] == 0  # nothing is asked before the loop begins
    assert totals[1][1] == 5 + 2 + 1  # trials, final jobs, and the scores of the first trial
    done, total = totals[-1]
    assert done + len([one for one in one.tuner.studies[0].outcomes if one.state == DIVERGED]) == total


def test_who_asked_is_kept_and_a_search_that_another_optuna_goes_on_with_says_so(search, caplog, monkeypatch):
    one = search(f"trials: 4, {SPACE}", datasets="[embedded/digits]")
    one.drive()
    ours = version("optuna")
    (study,) = one.tuner.studies
    assert {trial.attrs[ASKED_BY] for trial in one.store.trials([study.cell.study])} == {ours}
    assert "may ask" not in caplog.text
    monkeypatch.setattr("orchestrator.tuning.tuner.version", lambda name: "99.0")
    one.text = spec_text(f"trials: 6, {SPACE}", datasets="[embedded/digits]")
    one.drive()
    assert f"are by Optuna {ours}, further ones by 99.0" in caplog.text
    assert [trial.attrs[ASKED_BY] for trial in one.store.trials([study.cell.study])] == [*[ours] * 4, *["99.0"] * 2]


def test_values_that_a_search_chose_are_said_once_below_the_board(search):
    one = search()
    one.drive()
    (section,) = leaderboard(one.store.jobs("s"), {}, sweeps=("s",)).sections
    chosen = {study.trials[study.best.number].params["gps.connections_per_neuron"] for study in one.tuner.studies}
    assert len(chosen) == 2  # else there would be nothing to say twice
    assert sum("connections_per_neuron" in note for note in section.notes) == 1


@pytest.mark.parametrize("datasets", ["[embedded/digits, embedded/location]", "[embedded/digits]"])
def test_people_read_chosen_values_in_short_and_programs_in_full(search, datasets):
    one = search(datasets=datasets)
    one.drive()
    board = leaderboard(one.store.jobs("s"), {}, sweeps=("s",))
    rates = {study.trials[study.best.number].params["train.lr"] for study in one.tuner.studies}
    assert all(len(repr(rate)) > 12 for rate in rates)  # a sampler's
    for text in (md.render(board), term.render(board)):
        assert all(f"lr={rate:.3g}" in text and repr(rate) not in text for rate in rates)
    assert f"lr={' or '.join(f'{rate:.3g}' for rate in sorted(rates))} " in md.render(board)
    for text in (csv.render(board), json_.render(board)):
        assert all(repr(rate) in text for rate in rates)
