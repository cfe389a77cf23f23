"""Frozen features: what a backbone that stays as it is hands to its head, computed once and trained on from then on.

With one head, an image has one row of features; a distilled DeiT has two, one per head, and averages their logits
(timm's evaluation, and its training without a teacher).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from storage.records import Job
from workers.data.batches import Batch, Batches
from workers.errors import DataChanged
from workers.precision import autocast
from workers.reporting import Reporter


class FeatureFeed:
    """A split whose images are replaced by their features [n, heads, width] (`computed`). Raises DataChanged when these
    are of another number of images."""

    def __init__(self, features: Tensor, batches: Batches, job: Job) -> None:
        if len(features) != len(batches):
            raise DataChanged(
                f"there are features of {len(features)} images, and the split has {len(batches)}: delete the "
                "artifact, and jobs make their own"
            )
        self._batches, self._job = batches, job
        self._labels = batches.labels
        self._features = features.to(self._labels.device)

    def __len__(self) -> int:
        return len(self._batches)

    def steps(self, batch_size: int) -> int:
        return self._batches.steps(batch_size)

    @property
    def labels(self) -> Tensor:
        """int64 [n], in the order of the split, on the device."""
        return self._labels

    @property
    def features(self) -> Tensor:
        """[n, heads, width], on the device."""
        return self._features

    def order(self, epoch: int) -> Tensor:
        """Rows of each batch [steps, batch] on the device, in the order of `Batches.trained`: both see the same."""
        return self._batches.rows(self._job.recipe.batch_size, "order", epoch).to(self._features.device)

    def trained(self, epoch: int) -> Iterator[Batch]:
        for there in self.order(epoch):
            labels = self._labels[there]
            yield Batch(self._features[there], labels, labels)

    def in_order(self) -> Iterator[Batch]:
        start = 0
        for size in self._batches.evaluation_sizes():
            part = slice(start, start + size)
            yield Batch(self._features[part], self._labels[part], self._labels[part])
            start += size


def computed(model: nn.Module, batches: Batches, job: Job, reporter: Reporter) -> Tensor:
    """What reaches each head [n, heads, width] in the order of the split, in eval mode, on the device."""
    heads = classifiers(model)
    caught: list[list[Tensor]] = [[] for _ in heads]
    hooks = [
        head.register_forward_pre_hook(lambda _, given, into=into: into.append(given[0]))
        for head, into in zip(heads, caught, strict=True)
    ]
    model.eval()
    done = 0
    try:
        with torch.no_grad():
            for batch in batches.in_order():
                with autocast(job.recipe.precision, batch.images.device):
                    model(batch.images)
                done += len(batch.labels)
                reporter.step("features", done, len(batches))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack([torch.cat(parts) for parts in caught], dim=1)


def classifiers(model: Any) -> tuple[nn.Module, ...]:
    """The model's heads: one, or the class and the distillation head."""
    found = model.get_classifier()
    return tuple(found) if isinstance(found, tuple) else (found,)


def head_of(model: nn.Module) -> nn.Module:
    """The heads as one module on features: [n, heads, width] -> logits [n, classes], as the model makes them."""
    return _Heads(classifiers(model))


class _Heads(nn.Module):
    def __init__(self, heads: tuple[nn.Module, ...]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def forward(self, features: Tensor) -> Tensor:
        logits = [head(features[:, at]) for at, head in enumerate(self.heads)]
        total: Tensor = sum(logits[1:], start=logits[0])
        return total / len(logits) if len(logits) > 1 else total
