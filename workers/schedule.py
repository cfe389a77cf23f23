"""The learning rate over training time."""

from __future__ import annotations

import math

from storage.records import Recipe


def lr_at(recipe: Recipe, time_epochs: float) -> float:
    """The learning rate at a time in epochs (fractional within an epoch), before any per-parameter factor.

    timm's cosine with linear warm-up, as the releases of SSF, GPS and PYRA use it: the cosine runs over `epochs`
    and the warm-up replaces its beginning, so that with warm-up `lr` itself is never quite reached. With
    `schedule_unit: epoch` (SSF, GPS) the rate is held over each epoch; with `epoch_before` (PYRA, whose loop moves
    the rate after an epoch by the number of that epoch) each epoch has the rate that the one before should have had.
    Behind the cosine, in the `cooldown_epochs`, it is `min_lr`.
    """
    time = time_epochs
    if recipe.schedule_unit != "step":
        time = max(math.floor(time_epochs) - (recipe.schedule_unit == "epoch_before"), 0)
    warmup = recipe.warmup_epochs or 0.0
    if time < warmup:
        return recipe.warmup_lr + time * (recipe.lr - recipe.warmup_lr) / warmup
    if recipe.schedule == "constant":
        return recipe.lr
    if time >= recipe.epochs:
        return recipe.min_lr
    return recipe.min_lr + 0.5 * (recipe.lr - recipe.min_lr) * (1 + math.cos(math.pi * time / recipe.epochs))
