"""A job that one search ended early is no answer to whoever wants all of it."""

import pytest

from orchestrator.cli import main
from orchestrator.tuning.outcomes import DONE, PRUNED
from storage.open import open_store
from storage.records import Phase, Status
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


def test_a_driver_killed_while_such_jobs_run_again_goes_on_to_the_same_end(pruned):
    pruned.text = spec_text(f"{POINTS}, sampler: grid, pruner: none, parallel: 3", datasets=ONE)
    for events in (3, 17, 60):
        with pytest.raises(Killed):
            pruned.drive(kill_after=events)
    pruned.drive()
    assert set(outcomes(pruned).values()) == {DONE}
    done = {state.job.job_id for state in pruned.states(Status.DONE)}
    assert set(outcomes(pruned)) <= done


def test_an_ordinary_sweep_that_names_a_pruned_job_runs_it_to_its_end(tmp_path):
    rates = "[1e-5, 3e-5, 1e-4, 2e-5, 5e-5, 7e-5]"
    base = "datasets: [embedded/digits]\nbackbones: [raw_pixels]\nmethods: [linear]\nseeds: 1\n"
    search = f"tune: {{trials: 6, sampler: grid, space: {{lr: {{choice: {rates}}}}}}}\ntrain: {{epochs: 4}}\n"
    run_spec(tmp_path, f"name: searched\n{base}{search}")
    ended_early, *_ = jobs(tmp_path, "searched", Status.PRUNED)
    run_spec(tmp_path, f"name: plain\n{base}phase: search\ntrain: {{epochs: 4, lr: {ended_early.recipe.lr}}}\n")
    assert jobs(tmp_path, "plain", Status.DONE) == [ended_early]


def run_spec(folder, text):
    (folder / "spec.yaml").write_text(text)
    words = ["run", str(folder / "spec.yaml"), "--home", str(folder / "home"), "--pool", "inline", "--mlflow", "off"]
    assert main([*words, "--no-preflight"]) == 0


def jobs(folder, sweep, status):
    store = open_store(f"sqlite:///{folder / 'home' / 'store.db'}")
    try:
        return [state.job for state in store.jobs(sweep, status) if state.job.phase is Phase.SEARCH]
    finally:
        store.close()
