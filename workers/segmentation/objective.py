"""What masks are trained with and judged by. Everything is per image first, and the mean over images is the number.

Dice = 2TP/(2TP+FP+FN), IoU = TP/(TP+FP+FN) of the foreground; where truth and prediction are both empty, both are 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_LEAST = 1e-6  # where all shares have underflowed and the mask is empty


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross-entropy plus soft IoU, 1 - Σpg/(Σp + Σg - Σpg) averaged over images, as SAM-Adapter and GPS train.

    logits and masks are (n, 1, h, w).
    """
    logits = logits.float()
    shares = logits.sigmoid()
    both = (shares * masks).sum(dim=(1, 2, 3))
    either = (shares + masks).sum(dim=(1, 2, 3)) - both
    return F.binary_cross_entropy_with_logits(logits, masks) + (1 - both / either.clamp(min=_LEAST)).mean()


def confusion(logits: Tensor, masks: Tensor) -> Tensor:
    """True positives, false positives, false negatives of each image, int64 (n, 3); foreground is a logit above 0."""
    predicted, true = logits > 0, masks > 0.5
    parts = (predicted & true, predicted & ~true, ~predicted & true)
    return torch.stack([part.sum(dim=(1, 2, 3)) for part in parts], dim=1)


def dice(counts: Tensor) -> Tensor:
    """Shares in [0, 1], float64 (…), of counts (…, 3)."""
    hit, added, missed = counts.double().unbind(dim=-1)
    return _share(2 * hit, 2 * hit + added + missed)


def iou(counts: Tensor) -> Tensor:
    """As `dice`."""
    hit, added, missed = counts.double().unbind(dim=-1)
    return _share(hit, hit + added + missed)


def release_dice(counts: Tensor) -> Tensor:
    """What GPS's release prints as Dice. It leaves out all background pixels of the truth (`ignore_index=0`), false
    positives with them, so that a mask of ones has 1: 2R/(1+R) of the recall R."""
    hit, _, missed = counts.double().unbind(dim=-1)
    return _share(2 * hit, 2 * hit + missed)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp(min=1), 1.0)
