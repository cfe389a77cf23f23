"""Recorded trials replayed in virtual time: the trials of a real run, and comparisons of ways to search."""

import random
import time
from dataclasses import replace

import pytest

from orchestrator.errors import NothingToShow, UsageError
from orchestrator.spec import Tune
from orchestrator.tuning.outcomes import PRUNED
from orchestrator.tuning.replay import TableCell, replay
from orchestrator.tuning.tables import load_table, recorded_table, save_table
from storage.records import Phase, Result, Status
from tests.orchestrator.tuning.searches import AFTER_TWO, MERGING, SPACE, Killed, Search, merged, planned, spec_text
from workers.pools.scripted import Answer

ONE = "[embedded/digits]"
GRID = "space: {lr: {choice: [3e-4, 1e-3, 3e-3, 3e-2]}, gps.connections_per_neuron: {int: [1, 15]}}"
SAMPLERS, PRUNERS = ("tpe", "random", "nsga2", "grid"), ("none", "median", "successive_halving", "hyperband")


def recorded(folder, tune):
    search = Search(spec_text(f"{tune}, pruner: none", datasets=ONE), folder, 8)
    search.drive()
    found = recorded_table(search.store, planned(search.text).cells[0])
    search.store.close()
    return found


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Sixty random places in a space with a continuous domain."""
    return recorded(tmp_path_factory.mktemp("random"), f"trials: 60, {SPACE}, sampler: random")


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """All sixty points of a space."""
    return recorded(tmp_path_factory.mktemp("grid"), f"trials: 60, {GRID}, sampler: grid")


def replayed(table, trials=20, sampler="tpe", pruner="none", seed=0, **tune):
    slots = tune.pop("slots", 1)
    return replay(TableCell(table, Tune(trials, table.space, sampler, pruner, **tune), seed), slots)


def of_the_table(table):
    """A pool that answers as the table has it."""

    def script(job, lease_epoch):
        if job.phase is not Phase.SEARCH:
            files = {} if job.makes is None else {"artifact": f"artifacts/{job.makes.key_id}.safetensors"}
            return Answer(1.0, Result(job_id=job.job_id, status=Status.DONE, files=files))
        connections = job.methods[0].kwargs["connections_per_neuron"]
        row = table.nearest({"train.lr": job.recipe.lr, "gps.connections_per_neuron": connections})
        return Answer(row.wall_s, replace(row.result, job_id=job.job_id), epochs=row.curve)

    return script


@pytest.mark.parametrize("parallel", [1, 3])
@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_replay_has_the_trials_of_a_real_run_that_is_killed_ten_times(grid, search, sampler, pruner, parallel):
    real = search(
        f"trials: 9, {GRID}, sampler: {sampler}, pruner: {pruner}, parallel: {parallel}",
        script=of_the_table(grid),
        datasets=ONE,
    )
    moments = random.Random(f"{sampler} {pruner} {parallel}")
    for _ in range(10):
        with pytest.raises(Killed):
            real.drive(kill_after=moments.randrange(1, 8))
    real.drive()
    found = replayed(grid, 9, sampler, pruner, parallel=parallel, slots=parallel)
    ((_, trials),) = real.trials().items()
    (study,) = real.tuner.studies
    assert [(one.number, one.params) for one in found.trials] == [(number, params) for number, _, params in trials]
    assert [one.state for one in found.outcomes] == [one.state for one in study.outcomes]
    assert found.trials[0].study == study.cell.study
    assert found.jobs == len({job_id for _, job_id, _ in trials})


@pytest.mark.parametrize("pruner", ["none", "median"])
def test_a_budget_in_hours_ends_a_replay_where_it_ends_a_real_search(table, search, pruner):
    tune = f"hours: 0.35, {SPACE}, pruner: {pruner}"
    real = search(tune, slots=1, script=of_the_table(table), datasets=ONE)
    real.drive()
    ((_, trials),) = real.trials().items()
    found = replayed(table, None, pruner=pruner, hours=0.35)
    assert [one.params for one in found.trials] == [params for _, _, params in trials]
    took_s = [one.wall_s for one in found.outcomes]
    assert sum(took_s[:-1]) < 0.35 * 3600 <= sum(took_s)


def test_epochs_are_those_that_real_jobs_train(table, search):
    real = search(f"trials: 20, {SPACE}, pruner: successive_halving", slots=1, script=of_the_table(table), datasets=ONE)
    real.drive()
    states = [*real.states(Status.PRUNED), *real.states(Status.DONE)]
    trained = sum(len(real.store.epochs(state.job.job_id)) for state in states)
    assert replayed(table, 20, "tpe", "successive_halving").epochs == trained


def test_a_replayed_search_has_its_budget_and_finds_one_of_the_recorded_values(table):
    found = replayed(table, 30)
    assert (len(found.outcomes), found.pruned) == (30, 0)
    assert found.best_score in {one.metrics.get("val_top1_pct") for one in table.trials}
    assert found.regret_points == table.outcomes[table.best.number].score - found.best_score >= 0
    assert found.virtual_s == pytest.approx(found.slot_s)
    assert found.slot_s > 30 * 10


def test_a_grid_replayed_is_the_recorded_grid(grid):
    found = replayed(grid, 60, "grid")
    assert [one.params for one in found.trials] == [one.params for one in grid.trials]
    assert (found.jobs, found.epochs, found.regret_points) == (60, grid.epochs_trained, 0)


def test_every_seed_has_numbers_of_its_own_and_the_same_ones_again(grid):
    runs = [[one.params for one in replayed(grid, 8, seed=seed).trials] for seed in (0, 1, 2, 1)]
    assert runs[1] == runs[3]
    assert runs[0] != runs[1] != runs[2] != runs[0]


def test_what_is_suggested_again_is_not_trained_again(grid):
    found = replayed(grid, 60, "random")
    assert len(found.outcomes) == 60
    distinct = len({tuple(one.params.values()) for one in found.trials})
    assert (found.jobs, found.epochs) == (distinct, 8 * distinct)
    assert distinct < 50


def test_pruning_saves_recorded_time_and_epochs(table):
    whole, pruned = (replayed(table, 40, "random", name) for name in ("none", "median"))
    assert pruned.pruned == sum(one.state == PRUNED for one in pruned.outcomes) > 5
    assert pruned.slot_s < 0.9 * whole.slot_s
    assert pruned.epochs < 0.9 * whole.epochs


def test_a_larger_budget_begins_with_the_trials_of_a_smaller_one(table):
    few, many = (replayed(table, trials, pruner="median") for trials in (10, 25))
    assert many.trials[:10] == few.trials
    assert many.regret_points <= few.regret_points


def test_several_trials_at_a_time_need_less_time_for_as_many_trials(table):
    one, four, waiting = (replayed(table, 24, parallel=p, slots=slots) for p, slots in ((1, 1), (4, 4), (4, 2)))
    assert len(one.outcomes) == len(four.outcomes) == 24
    assert four.virtual_s < 0.6 * one.virtual_s
    assert waiting.trials == four.trials  # slots change no trial
    assert four.virtual_s < waiting.virtual_s < one.virtual_s


def test_a_search_after_two_objectives_is_replayed_to_its_front(tmp_path):
    search = Search(spec_text(AFTER_TWO.replace("16", "40"), **MERGING), tmp_path, 4, merged)
    search.drive()
    after_two = planned(spec_text(AFTER_TWO, **MERGING)).spec.tune
    whole = recorded_table(search.store, planned(search.text).cells[0])
    search.store.close()
    found = replay(TableCell(whole, after_two))
    points = {(one.metrics.get("val_top1_pct"), one.metrics.get("macs")) for one in whole.trials}
    assert len(found.front) > 1
    assert set(found.front) <= points
    assert [score for score, _ in found.front] == sorted((score for score, _ in found.front), reverse=True)


def test_trials_are_replayed_by_the_thousand_in_seconds(grid):
    began_s = time.process_time()
    for seed in range(25):
        replayed(grid, 40, "tpe", "median", seed)
    assert time.process_time() - began_s < 20


def test_a_saved_table_is_the_table(grid, table, tmp_path):
    for at, one in enumerate((grid, table)):
        save_table(one, tmp_path / f"{at}.jsonl")
        assert load_table(tmp_path / f"{at}.jsonl") == one
        assert (tmp_path / f"{at}.jsonl").stat().st_size < 60_000
    assert replayed(load_table(tmp_path / "0.jsonl")) == replayed(grid)


def test_one_image_of_two_hundred_is_half_a_point(grid):
    assert grid.image_points == 0.5


@pytest.mark.parametrize(
    ("line", "said"),
    [(1, "line 1: is no table"), (3, "line 3: is no table"), (0, "line 1: is no table")],
)
def test_a_file_that_is_no_table_is_refused_with_its_line(grid, tmp_path, line, said):
    path = tmp_path / "t.jsonl"
    save_table(grid, path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[: line - 1], '{"end": "lost"}', *lines[line:]]) if line else "")
    with pytest.raises(UsageError, match=said):
        load_table(path)


def test_a_study_that_nobody_ran_cannot_be_replayed(tmp_path):
    search = Search(spec_text(f"trials: 3, {SPACE}"), tmp_path)
    with pytest.raises(NothingToShow, match="no finished trial"):
        recorded_table(search.store, planned(search.text).cells[0])
    search.store.close()
