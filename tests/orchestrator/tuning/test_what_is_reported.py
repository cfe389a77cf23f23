"""What `tune show` and the board say of a search is what happened: epochs, ties, bounds that nothing keeps."""

from dataclasses import replace

import pytest

from orchestrator.errors import UsageError
from orchestrator.report.build import leaderboard
from orchestrator.tuning.freezing import frozen_recipe
from orchestrator.tuning.outcomes import PRUNED
from orchestrator.tuning.report import study_reports, totals
from storage.records import Phase, Status
from tests.orchestrator.tuning.searches import EPOCHS, Killed, planned, spec_text, trained

CHOICES = "space: {lr: {choice: [1e-3, 3e-3, 1e-2]}}"
RANKS = "sampler: grid, pruner: none, space: {lora.rank: {choice: [1, 2]}}"


def of_rank(val_loss):
    """Equal accuracy for both ranks, each with the validation loss that is given for it."""

    def script(job, epoch):
        answer = trained(job, epoch)
        if job.phase is not Phase.SEARCH:
            return answer
        rank = job.methods[0].kwargs["rank"]
        metrics = {"val_top1_pct": 50.0, "val_loss": val_loss[rank], "trainable_params": 1000.0 * rank}
        return replace(answer, result=replace(answer.result, metrics=metrics))

    return script


@pytest.mark.parametrize("rest", ["", ", parallel: 3, pruner: successive_halving"])
def test_the_epochs_that_pruning_saved_are_those_that_no_job_has_trained(search, rest):
    one = search(f"trials: 12, {CHOICES}{rest}")
    one.drive()
    jobs = [kept for kept in one.store.snapshot(["s"]).jobs if kept.job.phase is Phase.SEARCH]
    for report in study_reports(one.store, "s"):
        mine = [kept for kept in jobs if kept.job.dataset.name == report.dataset]
        trained_epochs = sum(len(kept.result.epochs) for kept in mine)
        assert report.epochs_planned == EPOCHS * len(mine)
        assert report.epochs_saved == EPOCHS * len(mine) - trained_epochs


def test_a_pruned_trial_whose_job_ran_on_saved_nothing(search):
    """Its job was asked for again by a trial that is not pruned, or it had ended before it heard."""
    one = search(f"trials: 10, {CHOICES}", datasets="[embedded/digits]")
    one.drive()
    (report,) = study_reports(one.store, "s")
    pruned = [trial for trial in report.trials if trial.state == PRUNED]
    assert pruned
    for trial in pruned:
        state = one.store.job(trial.trial.job_id)
        assert trial.pruned_after < EPOCHS
        assert (trial.epochs == EPOCHS) == (state.status is Status.DONE)


def test_trials_of_one_job_are_one_result_and_tie_with_nobody(search):
    one = search(f"trials: 9, pruner: none, {CHOICES}")
    one.drive()
    for study in one.tuner.studies:
        assert study.best.tied == ()
    for report in study_reports(one.store, "s"):
        jobs = [trial.trial.job_id for trial in report.trials]
        assert jobs.count(jobs[report.chosen]) > 1, "the best values were asked for twice"
        assert report.best.tied == ()
    assert {state.tuned.ties for state in one.store.jobs("s") if state.tuned} == {0}


def test_a_trial_over_its_bound_ties_with_nobody(search):
    tune = f"{RANKS}, constraint: trainable_params <= 1500"
    one = search(tune, script=of_rank({1: 2.0, 2: 1.0}), methods="[lora]")
    one.drive()
    for report in study_reports(one.store, "s"):
        assert (report.chosen, report.best.tied) == (0, ())


def test_a_tie_is_told_with_the_rule_that_broke_it(search):
    one = search(RANKS, script=of_rank({1: 2.0, 2: 1.0}), methods="[lora]")
    one.drive()
    for report in study_reports(one.store, "s"):
        assert (report.chosen, report.best.tied) == (1, (0,)), "the lower loss wins"


def test_a_bound_that_no_trial_keeps_is_named_by_every_word(search):
    one = search(f"{RANKS}, constraint: trainable_params <= 500", script=of_rank({1: 2.0, 2: 1.0}), methods="[lora]")
    outcome = one.drive()
    assert outcome.blocked == 2
    reports = study_reports(one.store, "s")
    for report in reports:
        assert report.is_over
        assert "no trial kept the constraint" in report.found_nothing
    with pytest.raises(UsageError, match=r"digits is over, and no trial kept the constraint.*location is over"):
        frozen_recipe("s", reports)
    assert "0 of 2 studies have chosen" in totals(reports)


def test_a_search_that_goes_on_is_not_over(search):
    one = search(f"trials: 12, {CHOICES}")
    with pytest.raises(Killed):
        one.drive(kill_after=40)
    reports = study_reports(one.store, "s")
    assert [report.is_over for report in reports] == [False, False]
    with pytest.raises(UsageError, match="is not over: run the spec again"):
        frozen_recipe("s", reports)
    one.drive()
    assert all(report.is_over for report in study_reports(one.store, "s"))


def test_a_row_whose_search_found_nothing_on_a_task_lacks_it_and_has_no_average(search):
    def script(job, epoch):
        answer = of_rank({1: 2.0, 2: 1.0})(job, epoch)
        if job.phase is not Phase.SEARCH or not job.dataset.name.endswith("location"):
            return answer
        metrics = {**answer.result.metrics, "trainable_params": 9000.0}
        return replace(answer, result=replace(answer.result, metrics=metrics))

    one = search(f"{RANKS}, constraint: trainable_params <= 5000", script=script, methods="[lora]")
    one.drive()
    board = leaderboard(one.store.jobs("s"), {}, sweeps=["s"])
    (section,) = board.sections
    (row,) = section.rows
    assert {task.title: (cell.n, cell.expected) for task, cell in zip(section.tasks, row.cells, strict=True)} == {
        "digits": (2, 2),
        "location": (0, 2),
    }
    assert (row.mean_of_tasks, row.rank, board.done, board.expected) == (None, None, 2, 4)


def test_two_sweeps_on_the_same_jobs_have_their_own_searches(search):
    grid = "sampler: grid, space: {lr: {choice: [1e-3, 3e-3, 1e-2]}}"
    one = search(f"{grid}, pruner: median")
    one.drive()
    before = [report.study for report in study_reports(one.store, "s")]
    one.text = spec_text(f"{grid}, pruner: none")
    one.drive()
    after = [report.study for report in study_reports(one.store, "s")]
    assert len(after) == 2
    assert after == [cell.study for cell in planned(one.text).cells]
    assert set(before).isdisjoint(after)
    assert frozen_recipe("s", study_reports(one.store, "s"))
