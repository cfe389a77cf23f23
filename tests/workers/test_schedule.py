"""The learning rate: golden numbers of the GPS release (timm's per-epoch cosine), and the steps between."""

from __future__ import annotations

import pytest

from storage.records import Recipe
from workers.schedule import lr_at

RELEASE = Recipe(epochs=100, lr=3e-3, warmup_epochs=10, warmup_lr=1e-7, min_lr=1e-8, schedule_unit="epoch")


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, 1e-7),
        (1, 3.0009e-4),
        (5, 1.50005e-3),
        (9, 2.70001e-3),
        (10, 2.926585e-3),
        (50, 1.500005e-3),
        (99, 7.5016e-7),
        (109, 1e-8),
    ],
)
def test_the_epoch_unit_gives_the_numbers_of_the_release(epoch, expected):
    assert lr_at(RELEASE, epoch) == pytest.approx(expected, rel=2e-5)
    assert lr_at(RELEASE, epoch + 0.75) == lr_at(RELEASE, epoch), "held over the epoch"


PYRA = Recipe(epochs=100, lr=1e-3, warmup_epochs=10, warmup_lr=1e-6, min_lr=1e-5, schedule_unit="epoch_before")


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, 1e-6),
        (1, 1e-6),
        (2, 1.009e-4),
        (5, 4.006e-4),
        (10, 9.001e-4),
        (11, 9.757730e-4),
        (51, 5.05e-4),
        (90, 3.926402e-5),
        (99, 1.097677e-5),
    ],
)
def test_the_rate_that_lags_one_epoch_gives_the_numbers_of_pyra_s_release(epoch, expected):
    assert lr_at(PYRA, epoch) == pytest.approx(expected, rel=1e-6)
    assert lr_at(PYRA, epoch + 0.75) == lr_at(PYRA, epoch), "held over the epoch"


def test_the_step_unit_moves_within_the_epoch():
    recipe = Recipe(epochs=10, lr=1.0, warmup_epochs=2)
    assert lr_at(recipe, 0) == 0
    assert lr_at(recipe, 0.5) == pytest.approx(0.25)
    assert lr_at(recipe, 5) == pytest.approx(0.5)
    assert lr_at(recipe, 7.25) < lr_at(recipe, 7.0)
    assert lr_at(recipe, 10) == 0


def test_a_constant_schedule_stays_after_its_warmup():
    recipe = Recipe(epochs=10, lr=0.5, warmup_epochs=1, schedule="constant")
    assert [lr_at(recipe, time) for time in (0.5, 1, 9.9, 12)] == [0.25, 0.5, 0.5, 0.5]


def test_no_warmup_starts_at_the_rate_itself():
    assert lr_at(Recipe(epochs=10, lr=0.5, warmup_epochs=0.0), 0) == 0.5
