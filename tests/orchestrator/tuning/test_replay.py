"""Recorded trials replayed in virtual time, to compare searches without running one."""

import time

import pytest

from orchestrator.errors import UsageError
from orchestrator.tuning.replay import recorded_trials, replay
from tests.orchestrator.tuning.searches import AFTER_TWO, MERGING, SPACE, Search, merged, planned, spec_text

ONE = "[embedded/digits]"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Sixty recorded trials."""
    search = Search(
        spec_text(f"trials: 60, {SPACE}, sampler: random, pruner: none", datasets=ONE), tmp_path_factory.mktemp("r"), 8
    )
    search.drive()
    found = recorded_trials(search.store, planned(search.text).cells[0].study)
    search.store.close()
    return found


def replayed(table, tune, slots=1):
    return replay(planned(spec_text(f"{tune}, {SPACE}", datasets=ONE)).cells[0], table, slots)


def test_a_replayed_search_has_its_budget_and_finds_one_of_the_recorded_values(table):
    found = replayed(table, "trials: 30, pruner: none")
    assert (found.trials, found.pruned) == (30, 0)
    assert found.best_score in {one.result.metrics.get("val_top1_pct") for one in table}
    assert found.virtual_s >= found.slot_s > 30 * 10


def test_the_same_replay_again_is_the_same(table):
    assert replayed(table, "trials: 20") == replayed(table, "trials: 20")


def test_pruning_saves_recorded_time(table):
    whole, pruned = (replayed(table, f"trials: 40, sampler: random, pruner: {name}") for name in ("none", "median"))
    assert pruned.pruned > 5
    assert pruned.slot_s < 0.9 * whole.slot_s


def test_several_trials_at_a_time_need_less_time_for_as_many_trials(table):
    one, four = replayed(table, "trials: 24, parallel: 1", 4), replayed(table, "trials: 24, parallel: 4", 4)
    assert one.trials == four.trials == 24
    assert four.virtual_s < 0.6 * one.virtual_s


def test_a_search_after_two_objectives_is_replayed_to_its_front(tmp_path):
    search = Search(spec_text(AFTER_TWO.replace("16", "40"), **MERGING), tmp_path, 4, merged)
    search.drive()
    cell = planned(search.text).cells[0]
    recorded = recorded_trials(search.store, cell.study)
    search.store.close()
    found = replay(planned(spec_text(AFTER_TWO, **MERGING)).cells[0], recorded)
    points = {(one.result.metrics.get("val_top1_pct"), one.result.metrics.get("macs")) for one in recorded}
    assert len(found.front) > 1
    assert set(found.front) <= points
    assert [score for score, _ in found.front] == sorted((score for score, _ in found.front), reverse=True)


def test_trials_are_replayed_by_the_hundred_in_seconds(table):
    began_s = time.process_time()
    assert replayed(table, "trials: 100, sampler: random, pruner: none").trials == 100
    assert time.process_time() - began_s < 10


def test_a_study_that_nobody_ran_cannot_be_replayed(tmp_path):
    search = Search(spec_text(f"trials: 3, {SPACE}"), tmp_path)
    with pytest.raises(UsageError, match="no finished trial"):
        recorded_trials(search.store, "0" * 16)
    search.store.close()
