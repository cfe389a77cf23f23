"""What a search with our defaults must reach on whole recorded grids: GPS's K × learning rate on the embedded tasks.

480 epochs each, recorded with `tests/golden/k_grid/k-grid.yaml`. On digits and location one of the sixty points alone
is within one image of the best.
"""

from pathlib import Path

import pytest

from orchestrator.spec import DEFAULT_TRIALS, Tune
from orchestrator.tuning.replay_report import compared
from orchestrator.tuning.tables import load_table

GRIDS = Path(__file__).parents[2] / "golden" / "k_grid"


@pytest.mark.parametrize("task", ["count", "digits", "location"])
@pytest.mark.parametrize(
    "seeds", [pytest.param(range(20), id="0-19"), pytest.param(range(20, 40), id="20-39", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("trials", [DEFAULT_TRIALS, 40])
def test_tpe_with_pruning_ends_within_one_image_of_the_grid_at_two_fifths_of_its_epochs(task, seeds, trials):
    table = load_table(GRIDS / f"{task}.jsonl")
    assert (len(table.trials), table.image_points) == (60, 0.5)
    found = compared(table, Tune(trials, table.space, "tpe", "median"), seeds)
    assert found.regret_points <= 0.5
    assert found.epochs_pct <= 40


@pytest.mark.parametrize("task", ["count", "digits", "location"])
def test_a_recorded_grid_is_small(task):
    assert (GRIDS / f"{task}.jsonl").stat().st_size <= 60_000
