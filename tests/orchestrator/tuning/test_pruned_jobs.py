"""A job that one search ended early is no answer to whoever wants all of it."""

import pytest

from orchestrator.catalogue import installed_catalogue
from orchestrator.cli import main
from orchestrator.guide import pruned as pruned_result
from orchestrator.plan import plan
from orchestrator.spec import parse_spec
from orchestrator.tuning.outcomes import DONE, PRUNED
from orchestrator.tuning.report import study_reports
from storage.open import open_store
from storage.records import EpochMetrics, Status
from tests.orchestrator.tuning.searches import Killed, spec_text

POINTS = "trials: 60, space: {lr: {choice: [1e-4, 3e-4, 1e-3, 3e-2]}, gps.connections_per_neuron: {int: [1, 15]}}"
ONE = "[embedded/digits]"


def outcomes(one):
    (study,) = one.tuner.studies
    return {trial.job_id: outcome.state for trial, outcome in zip(study.trials, study.outcomes, strict=True)}


@pytest.fixture
def pruned(search):
    """A grid whose worst points were pruned."""
    one = search(f"{POINTS}, sampler: grid, pruner: median", datasets=ONE)
    one.drive()
    assert Status.PRUNED in {state.status for state in one.states(None)}
    return one


def test_a_search_without_a_pruner_has_the_number_of_every_trial(pruned):
    ended_early = {job_id for job_id, state in outcomes(pruned).items() if state == PRUNED}
    pruned.text = spec_text(f"{POINTS}, sampler: grid, pruner: none", datasets=ONE)
    pruned.drive()
    assert ended_early <= set(outcomes(pruned))
    assert set(outcomes(pruned).values()) == {DONE}


def test_the_search_that_pruned_it_still_counts_it_as_pruned(pruned):
    before = outcomes(pruned)
    first, pruned.text = pruned.text, spec_text(f"{POINTS}, sampler: grid, pruner: none", datasets=ONE)
    pruned.drive()
    made = len(pruned.attempts)
    pruned.text = first
    pruned.drive()
    assert outcomes(pruned) == before
    assert len(pruned.attempts) == made
    (report,) = [one for one in study_reports(pruned.store, "s") if one.study == pruned.tuner.studies[0].cell.study]
    assert {one.trial.job_id: one.state for one in report.trials} == before


def test_a_driver_killed_while_such_jobs_run_again_goes_on_to_the_same_end(pruned):
    pruned.text = spec_text(f"{POINTS}, sampler: grid, pruner: none, parallel: 3", datasets=ONE)
    for events in (3, 17, 60):
        with pytest.raises(Killed):
            pruned.drive(kill_after=events)
    pruned.drive()
    assert set(outcomes(pruned).values()) == {DONE}
    done = {state.job.job_id for state in pruned.states(Status.DONE)}
    assert set(outcomes(pruned)) <= done


def test_an_ordinary_sweep_that_names_a_pruned_job_runs_it_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEPBOARD_CACHE", str(tmp_path / "cache"))
    text = (
        "name: plain\ndatasets: [embedded/digits]\nbackbones: [raw_pixels]\nmethods: [linear]\nseeds: 1\n"
        "phase: search\ntrain: {epochs: 2}\n"
    )
    made = plan(parse_spec(text), installed_catalogue(None, tmp_path / "cache"))
    (tmp_path / "home").mkdir()
    store = open_store(tmp_path / "home" / "store.db")
    store.save_sweep("searched", text, made.entries)
    ((entry, lease),) = store.claim("searched", "a search", 1, 60.0)
    store.finish(lease, pruned_result(entry.job.job_id, [EpochMetrics(1, {"val_top1_pct": 10.0}, 1.0)]))
    assert store.known([entry.job.job_id]) == {entry.job.job_id: Status.PRUNED}
    store.close()
    (tmp_path / "spec.yaml").write_text(text)
    words = ["run", str(tmp_path / "spec.yaml"), "--home", str(tmp_path / "home"), "--pool", "inline"]
    assert main([*words, "--mlflow", "off", "--no-preflight"]) == 0
    store = open_store(tmp_path / "home" / "store.db")
    state = store.job(entry.job.job_id)
    store.close()
    assert (state.status, len(state.result.epochs)) == (Status.DONE, 2)
