"""Accuracy and loss of a model on one split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from storage.records import Job
from workers.feeds import Ordered, Subject
from workers.precision import autocast
from workers.predictions import Predictions, save_predictions
from workers.reporting import Reporter


@dataclass(frozen=True)
class Evaluation:
    """`loss`: mean cross-entropy in nats; per image [n], in the split's order: true class, predicted class, and the
    softmax probability of the predicted class."""

    loss: float
    top1_pct: float
    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float16]

    @property
    def primary_pct(self) -> float:
        """Top-1."""
        return self.top1_pct

    def metrics(self, kind: str) -> dict[str, float]:
        """`kind`: val or test."""
        return {f"{kind}_loss": self.loss, f"{kind}_top1_pct": self.top1_pct}

    def save(self, folder: Path) -> dict[str, Path]:
        """The predictions, named by their content. Raises OSError."""
        return {"predictions": save_predictions(folder, Predictions(self.labels, self.predicted, self.probability))}


@torch.no_grad()
def evaluate(subject: Subject, feed: Ordered, job: Job, reporter: Reporter) -> Evaluation:
    """One pass in eval mode and in the recipe's precision; the softmax is taken in fp32. Equal logits: lowest class."""
    subject.module.eval()
    logits, labels, done = [], [], 0
    for batch in feed.in_order():
        with autocast(job.recipe.precision, batch.images.device):
            logits.append(subject.forward(batch.images).float())
        labels.append(batch.labels)
        done += len(batch.labels)
        reporter.step("evaluate", done, len(feed))
    all_logits, all_labels = torch.cat(logits), torch.cat(labels)
    probability, predicted = all_logits.softmax(dim=1).max(dim=1)
    return Evaluation(
        loss=functional.cross_entropy(all_logits, all_labels).item(),
        top1_pct=100 * int((predicted == all_labels).sum()) / len(all_labels),
        labels=all_labels.cpu().numpy(),
        predicted=predicted.cpu().numpy(),
        probability=probability.half().cpu().numpy(),
    )
