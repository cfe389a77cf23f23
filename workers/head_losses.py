"""Losses and hits of heads that are trained side by side: of each head the numbers that it would have alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_LEVELS, _LEVEL_BITS = 8, 4


@dataclass(frozen=True)
class HeadEpoch:
    """What one head's epoch summed up: losses times images, images that it had right, images; the last rate.

    A sum that is not finite is the one after the first step where it was not."""

    loss_sum: float
    right: int
    seen: int
    lr: float


class HeadSums:
    """Of an epoch, by head; losses are summed in fp32, step by step."""

    def __init__(self, heads: int) -> None:
        self._loss = np.zeros(heads, np.float32)
        self._right = np.zeros(heads, np.int64)
        self._seen = 0

    @property
    def any_is_finite(self) -> bool:
        return bool(np.isfinite(self._loss).any())

    def add(self, losses: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Losses [steps, heads], logits [steps, n, classes] or [steps, heads, n, classes], labels [steps, n]."""
        with np.errstate(over="ignore", invalid="ignore"):
            sums = np.cumsum(
                np.vstack([self._loss, (losses.cpu() * labels.shape[1]).numpy()]), axis=0, dtype=np.float32
            )
        is_over = ~np.isfinite(sums)
        last = np.where(is_over.any(axis=0), is_over.argmax(axis=0), len(sums) - 1)
        self._loss = sums[last, np.arange(len(last))]
        each = logits if logits.ndim == 4 else logits[:, None]
        self._right += (each.argmax(dim=-1) == labels[:, None]).sum((0, 2)).cpu().numpy()
        self._seen += labels.numel()

    def of(self, head: int, lr: float) -> HeadEpoch:
        return HeadEpoch(float(self._loss[head]), int(self._right[head]), self._seen, lr)


def losses_of(seen: Sequence[tuple[Tensor, Tensor]], labels: Tensor, smoothing: float) -> Tensor:
    """The cross-entropy of each batch and head [steps, heads], from each step's logits and log-probabilities
    ([n, classes], or [heads, n, classes]) and labels [steps, n]."""
    if seen[0][0].ndim == 2:
        each = [_loss(*of_step, given, smoothing) for of_step, given in zip(seen, labels.unbind(), strict=True)]
        return torch.stack(each)[:, None]
    if not smoothing:
        return mean_losses(torch.stack([log_probabilities for _, log_probabilities in seen]), labels)
    return torch.stack(
        [
            torch.stack([_loss(one, one, given, smoothing) for one in logits.unbind()])
            for (logits, _), given in zip(seen, labels.unbind(), strict=True)
        ]
    )


def _loss(logits: Tensor, log_probabilities: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    if smoothing:
        return functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    return functional.nll_loss(log_probabilities, labels)


def mean_losses(log_probabilities: Tensor, labels: Tensor) -> Tensor:
    """`nll_loss` of each batch and head at once, added up in that kernel's order on a CPU: sixteen by sixteen."""
    index = labels[:, None, :, None].expand(*log_probabilities.shape[:3], 1)
    picked = log_probabilities.gather(3, index)[..., 0].transpose(1, 2).contiguous()  # [steps, n, heads]
    levels = [torch.zeros_like(picked[:, 0]) for _ in range(_LEVELS)]
    for at, one in enumerate(picked.unbind(1)):
        levels[0] = levels[0] - one
        for level in range(_LEVELS - 1):
            if at & (((1 << _LEVEL_BITS) - 1) << (level * _LEVEL_BITS)):
                break
            levels[level + 1] = levels[level + 1] + levels[level]
            levels[level] = torch.zeros_like(levels[level])
    total = torch.zeros_like(levels[0])
    for level_sum in levels:
        total = total + level_sum
    return total / labels.shape[1]


def loss_gradients(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """The gradient of each batch's cross-entropy by its log-probabilities [steps, n, classes], from labels [steps, n].

    In fp32 and in autograd's order: the share of the label, and what smoothing gives to every class."""
    one, size = np.float32(1), np.float32(labels.shape[1])
    everywhere = -(np.float32(smoothing / classes) / size) if smoothing else np.float32(0)
    of_label = -(np.float32(one - smoothing) / size) + everywhere
    filled = torch.full((*labels.shape, classes), float(everywhere), device=labels.device)
    return filled.scatter_(2, labels[..., None], float(of_label))
