"""What a job's outputs are trained towards, counted while it trains, and judged by: one choice per kind of task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor
from torch.nn import functional

from storage.records import PRIMARY, SEGMENTATION, Job
from workers.data.batches import Batch
from workers.evaluate import evaluate
from workers.feeds import Feed, Subject
from workers.reporting import Reporter
from workers.segmentation.evaluate import evaluate_masks
from workers.segmentation.objective import confusion, dice, mask_loss


class Judged(Protocol):
    """What one pass over a scored split found."""

    @property
    def loss(self) -> float: ...

    @property
    def primary_pct(self) -> float:
        """The metric that is ranked (`storage.records.PRIMARY`)."""

    def metrics(self, kind: str) -> dict[str, float]:
        """By name; `kind` is val or test."""

    def save(self, folder: Path) -> dict[str, Path]:
        """What is kept per image: role -> file. Raises OSError."""


@dataclass(frozen=True)
class Objective:
    """`loss`: of outputs and a batch, a scalar. `right`: summed over the images, how right each is, from 0 to 1;
    `right_name` is what its mean in percent is called."""

    loss: Callable[[Tensor, Batch], Tensor]
    right: Callable[[Tensor, Tensor], Tensor]
    right_name: str
    judge: Callable[[Subject, Feed, Job, Reporter], Judged]


def objective_of(job: Job) -> Objective:
    """Cross-entropy and top-1 of classes; binary cross-entropy with soft IoU, and Dice, of masks."""
    name = f"train_{PRIMARY[job.dataset.task]}"
    if job.dataset.task == SEGMENTATION:
        return Objective(lambda logits, batch: mask_loss(logits, batch.targets), _dice_sum, name, evaluate_masks)
    smoothing = job.recipe.label_smoothing

    def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
        return functional.cross_entropy(logits.float(), batch.targets, label_smoothing=smoothing)

    return Objective(cross_entropy, _hits, name, evaluate)


def _hits(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == labels).sum()


def _dice_sum(logits: Tensor, masks: Tensor) -> Tensor:
    return dice(confusion(logits, masks)).sum()
