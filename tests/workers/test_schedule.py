"""The learning rate: the traces of the releases of GPS and PYRA, epoch by epoch, and the steps between."""

from __future__ import annotations

import pytest
import torch
from timm.scheduler import CosineLRScheduler

from storage.records import Recipe
from workers.schedule import lr_at

GPS = Recipe(
    epochs=100, cooldown_epochs=10, lr=3e-3, warmup_epochs=10, warmup_lr=1e-7, min_lr=1e-8, schedule_unit="epoch"
)
PYRA = Recipe(epochs=100, lr=1e-3, warmup_epochs=10, warmup_lr=1e-6, min_lr=1e-5, schedule_unit="epoch_before")


def timms_rate(recipe: Recipe, calls: list[int]) -> float:
    """What timm's own scheduler leaves in an optimizer after `step(epoch)` for each of these epochs."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    scheduler = CosineLRScheduler(
        optimizer,
        t_initial=recipe.epochs,
        lr_min=recipe.min_lr,
        warmup_t=int(recipe.warmup_epochs or 0),
        warmup_lr_init=recipe.warmup_lr,
        cycle_limit=1,
    )
    for epoch in calls:
        scheduler.step(epoch)
    rate: float = optimizer.param_groups[0]["lr"]
    return rate


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        (0, 1e-7),
        (1, 3.0009e-4),
        (5, 1.50005e-3),
        (9, 2.70001e-3),
        (10, 2.926585e-3),
        (50, 1.500005e-3),
        (99, 7.501570e-7),
        (100, 1e-8),
        (109, 1e-8),
    ],
)
def test_the_epoch_unit_gives_the_trace_of_gps_s_release(epoch, expected):
    assert f"{lr_at(GPS, epoch):.6e}" == f"{expected:.6e}"
    assert lr_at(GPS, epoch + 0.75) == lr_at(GPS, epoch), "held over the epoch"


def test_gps_s_release_trains_110_epochs_with_the_rates_of_timm():
    assert GPS.total_epochs == 110
    found = [lr_at(GPS, epoch) for epoch in range(GPS.total_epochs)]
    assert found == pytest.approx([timms_rate(GPS, [epoch]) for epoch in range(110)], rel=1e-12)


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
def test_the_rate_that_lags_one_epoch_gives_the_trace_of_pyra_s_release(epoch, expected):
    assert f"{lr_at(PYRA, epoch):.6e}" == f"{expected:.6e}"
    assert lr_at(PYRA, epoch + 0.75) == lr_at(PYRA, epoch), "held over the epoch"


def test_pyra_s_release_moves_timm_s_rate_after_each_epoch_by_that_epoch_s_number():
    assert PYRA.total_epochs == 100
    found = [lr_at(PYRA, epoch) for epoch in range(100)]
    assert found == pytest.approx([timms_rate(PYRA, list(range(epoch))) for epoch in range(100)], rel=1e-12)
    assert max(found) == found[11] < PYRA.lr


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
