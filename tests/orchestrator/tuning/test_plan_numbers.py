"""What a plan says of a search in numbers: trials that there will be, what they share, what is still to run."""

import pytest

from orchestrator.plan_report import compare
from orchestrator.plan_text import plan_record, plan_text
from orchestrator.testing import shipped_catalogue
from orchestrator.tuning.plan_text import tuning_lines, tuning_record
from orchestrator.tuning.tuner import Tuner
from storage.open import open_store
from tests.orchestrator.tuning.searches import SPACE, Killed, planned, spec_text

GRID = "trials: 20, sampler: grid, pruner: none, space: {lr: {choice: [1e-3, 1e-2]}, weight_decay: {choice: [0, 1, 2]}}"
ONE = {"datasets": "[embedded/digits]"}


@pytest.fixture
def store():
    opened = open_store("sqlite://")
    yield opened
    opened.close()


def numbers(store, text):
    """The report of the plan, its cache line, and its JSON."""
    report = compare(planned(text), store, shipped_catalogue())
    lines = plan_text(report, 0, diff=False).splitlines()
    return report, next(line for line in lines if line.startswith("cache:")), plan_record(report, 0)


def test_a_grid_ends_with_its_points_whatever_the_budget(store):
    text = spec_text(GRID, **ONE)
    made = planned(text)
    assert "tune: 1 cell, 6 trials each (grid, pruner none)" in tuning_lines(made, {})[0]
    assert [cell["most_trials"] for cell in tuning_record(made, {})["cells"]] == [6]
    report, cache, record = numbers(store, text)
    assert cache == "cache: 0 done, 8 new; 8 to run"
    assert (report.estimate.unknown, record["todo"]) == (8, 8)
    assert Tuner(store, "s", made.cells).to_come() == 6 + 2


def test_a_grid_without_a_number_of_trials_has_one_too():
    hours = planned(spec_text(GRID.replace("trials: 20", "hours: 2"), **ONE))
    assert "tune: 1 cell, 6 trials or 2 slot-hours each" in tuning_lines(hours, {})[0]


def test_grids_of_several_sizes_are_all_named():
    tune = "trials: 4, sampler: grid, space: {lr: {choice: [1e-3, 1e-2]}, gps.connections_per_neuron: {int: [1, 9]}}"
    made = planned(spec_text(tune, methods="[gps, bitfit]", **ONE))
    assert "tune: 2 cells, 4 trials or 2 trials each" in tuning_lines(made, {})[0]


def test_an_artifact_is_shared_only_where_no_value_of_the_space_decides_it():
    def shared(space, methods="[gps]"):
        lines = tuning_lines(planned(spec_text(f"trials: 3, space: {{{space}}}", methods=methods, **ONE)), {})
        return [line.strip() for line in lines if "its trials share" in line]

    assert shared("gps.connections_per_neuron: {int: [1, 9]}") == [
        "its trials share 1 prepare job (each for itself: 3)"
    ]
    assert shared("gps.selection_batch_size: {int: [8, 64]}") == []
    assert shared("gps.criterion: {choice: [gradient, magnitude]}") == []
    assert shared("lr: {log: [1e-4, 1e-2]}", "[linear]") == ["its trials share 2 prepare jobs (each for itself: 6)"]
    assert shared("image_size: {int: [16, 32]}, lr: {log: [1e-4, 1e-2]}", "[linear]") == []


def test_what_a_fresh_search_will_run_is_counted(store):
    _, cache, record = numbers(store, spec_text(f"trials: 12, {SPACE}"))
    assert cache == "cache: 0 done, 28 new; 28 to run"  # 12 trials and 2 final jobs on each of 2 data sets
    assert (record["todo"], record["known"]) == (28, {})


def test_rows_beside_the_search_are_counted_with_it(store):
    tune = "trials: 12, space: {gps.connections_per_neuron: {int: [1, 9]}}"
    _, _, record = numbers(store, spec_text(tune, methods="[gps, bitfit]", **ONE))
    assert record["todo"] == 12 + 2 + 2


def test_what_hours_hold_is_not_counted(store):
    _, cache, record = numbers(store, spec_text(f"hours: 2, {SPACE}", **ONE))
    assert cache == "cache: 0 done, 2 new; 2 to run, and as many trials as their hours hold"
    assert record["todo"] == 2


def test_a_search_that_was_killed_goes_on_where_it_was_and_one_that_is_over_has_nothing_to_run(search):
    made = search()
    with pytest.raises(Killed):
        made.drive(kill_after=120)
    report, cache, record = numbers(made.store, made.text)
    ended = sum(number for status, number in record["known"].items() if status in ("done", "pruned", "failed"))
    assert ended and 0 < record["todo"] <= 28 - ended
    assert cache.endswith(f"; {record['todo']} to run")
    assert sum(record["known"].values()) + report.new <= 28
    made.drive()
    report, cache, record = numbers(made.store, made.text)
    assert (record["todo"], report.new) == (0, 0)
    assert cache.endswith(" 0 new; 0 to run")
    assert str(report.estimate) == "nothing to run"


def test_a_larger_budget_brings_its_trials_and_new_final_jobs(search):
    made = search()
    made.drive()
    _, _, record = numbers(made.store, made.text.replace("trials: 12", "trials: 15"))
    assert record["todo"] == 2 * (3 + 2)
