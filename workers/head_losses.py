"""Losses and hits of heads that are trained side by side: of each head the numbers that it would have alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_AT_ONCE = 16


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

    def add(self, seen: StepsSeen) -> None:
        """Take in the steps that have been."""
        labels = seen.labels
        with np.errstate(over="ignore", invalid="ignore"):
            losses = seen.losses().cpu()
            sums = np.cumsum(np.vstack([self._loss, (losses * labels.shape[1]).numpy()]), axis=0, dtype=np.float32)
        is_over = ~np.isfinite(sums)
        last = np.where(is_over.any(axis=0), is_over.argmax(axis=0), len(sums) - 1)
        self._loss = sums[last, np.arange(len(last))]
        self._right += seen.right().cpu().numpy()
        self._seen += labels.numel()

    def of(self, head: int, lr: float) -> HeadEpoch:
        return HeadEpoch(float(self._loss[head]), int(self._right[head]), self._seen, lr)


class StepsSeen:
    """What the losses and hits of a few steps need. It is taken while a step's logits are at hand: to keep those of
    many heads takes longer than a step."""

    def __init__(self, labels: Tensor, heads: int, smoothing: float) -> None:
        """Labels [steps, n]."""
        self.labels, self._heads, self._smoothing = labels, heads, smoothing
        self._of_step = iter(labels.unbind())
        self._index = iter(labels[:, None, :, None].expand(-1, heads, -1, 1).unbind())
        steps, images = labels.shape
        shape = (steps, images) if heads == 1 else (steps, heads, images)
        self._guesses = torch.empty(shape, dtype=torch.int64, device=labels.device)
        self._place = iter(self._guesses.unbind())
        self._losses: list[Tensor] = []

    def add(self, logits: Tensor, log_probabilities: Tensor) -> None:
        """Of the next step, [n, classes], of several heads [heads, n, classes]."""
        _likeliest(logits, next(self._place))
        labels, index = next(self._of_step), next(self._index)
        if self._heads == 1:
            self._losses.append(self._loss(logits, log_probabilities, labels)[None])
        elif self._smoothing:
            pairs = zip(logits, log_probabilities, strict=True)
            self._losses.append(torch.stack([self._loss(*pair, labels) for pair in pairs]))
        else:
            self._losses.append(log_probabilities.gather(-1, index)[..., 0])

    def _loss(self, logits: Tensor, log_probabilities: Tensor, labels: Tensor) -> Tensor:
        if self._smoothing:
            return functional.cross_entropy(logits, labels, label_smoothing=self._smoothing)
        return functional.nll_loss(log_probabilities, labels)

    def losses(self) -> Tensor:
        """The cross-entropy of each step and head [steps, heads]."""
        found = torch.stack(self._losses)
        return mean_losses(found) if found.ndim == 3 else found

    def right(self) -> Tensor:
        """How many images each head had right [heads]."""
        guesses = self._guesses.view(len(self.labels), self._heads, -1)
        return (guesses == self.labels[:, None]).sum((0, 2))


def _likeliest(logits: Tensor, out: Tensor) -> None:
    """Of equal logits the first, as torch's; which takes longer than numpy's on a CPU, and than a step's products."""
    if logits.device.type == "cpu":
        logits.numpy().argmax(-1, out=out.numpy())
    else:
        torch.argmax(logits, -1, out=out)


def mean_losses(log_probabilities: Tensor) -> Tensor:
    """`nll_loss` of each step and head at once, from the labels' log-probabilities [steps, heads, n]; added up in that
    kernel's order on a CPU: the first image, then sixteen by sixteen, sixteen such sums by sixteen, and so on."""
    steps, heads, images = log_probabilities.shape
    losses = np.ascontiguousarray(-log_probabilities.cpu().numpy().reshape(-1, images).T)  # rows are summed in order
    first, rest = losses[0], losses[1:]
    total = np.zeros_like(first)
    while len(rest):
        whole = len(rest) // _AT_ONCE * _AT_ONCE
        total = total + rest[whole:].sum(axis=0)
        rest = rest[:whole].reshape(-1, _AT_ONCE, len(first)).sum(axis=1)
    return torch.from_numpy(((total + first) / np.float32(images)).reshape(steps, heads))


def loss_gradients(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """The gradient of each batch's cross-entropy by its log-probabilities [steps, n, classes], from labels [steps, n].

    In fp32 and in autograd's order: the share of the label, and what smoothing gives to every class."""
    one, size = np.float32(1), np.float32(labels.shape[1])
    everywhere = -(np.float32(smoothing / classes) / size) if smoothing else np.float32(0)
    of_label = -(np.float32(one - smoothing) / size) + everywhere
    filled = torch.full((*labels.shape, classes), float(everywhere), device=labels.device)
    return filled.scatter_(2, labels[..., None], float(of_label))
