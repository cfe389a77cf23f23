"""Mixup and CutMix of whole batches, with soft targets (timm's `Mixup` in batch mode)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from storage.records import Recipe

_SWITCH_PROB = 0.5  # which of the two, where both are on (timm's default)


def mixed(
    images: Tensor, labels: Tensor, classes: int, recipe: Recipe, draws: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Each image mixed with its mirror place in the batch; targets [n, classes] are shares that sum to 1."""
    targets = functional.one_hot(labels, classes).to(images.dtype)
    if draws.random() >= recipe.mixup_prob:
        return images, targets
    is_cutmix = recipe.cutmix_alpha > 0 and (recipe.mixup_alpha == 0 or draws.random() < _SWITCH_PROB)
    alpha = recipe.cutmix_alpha if is_cutmix else recipe.mixup_alpha
    share = float(draws.beta(alpha, alpha))
    if is_cutmix:
        images, share = _cut(images, share, draws)
    else:
        images = torch.lerp(images.flip(0), images, share)
    return images, torch.lerp(targets.flip(0), targets, share)


def _cut(images: Tensor, share: float, draws: np.random.Generator) -> tuple[Tensor, float]:
    """A box of relative area 1 - share, clipped at the border, taken from the mirror image; the share that is left."""
    height, width = images.shape[-2:]
    side = math.sqrt(1 - share)
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    row, column = int(draws.integers(height)), int(draws.integers(width))
    top, bottom = max(row - half_height, 0), min(row + half_height, height)
    left, right = max(column - half_width, 0), min(column + half_width, width)
    cut = images.clone()
    cut[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
    return cut, 1 - (bottom - top) * (right - left) / (height * width)
