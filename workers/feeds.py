"""What the trainer and the evaluation read: batches of images, or features computed once where only the head learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from storage.records import Job
from workers.adapted import AdaptedModel
from workers.data.batches import Batch, Batches
from workers.data.mixing import mixes
from workers.precision import autocast
from workers.reporting import Reporter


class Feed(Protocol):
    """One split, as batches."""

    def __len__(self) -> int: ...

    def steps(self, batch_size: int) -> int: ...

    def trained(self, epoch: int) -> Iterator[Batch]: ...

    def in_order(self) -> Iterator[Batch]: ...


@dataclass(frozen=True)
class Subject:
    """What is trained on a feed: `forward` maps its images (or features) to logits [n, classes]."""

    module: nn.Module
    forward: Callable[[Tensor], Tensor]
    is_head_only: bool


def subject_of(adapted: AdaptedModel, job: Job) -> Subject:
    """The head alone where nothing else can change a training batch, else the whole model."""
    if not _learns_head_only(adapted, job):
        return subject_on_images(adapted)
    classifier = _classifier(adapted.model)
    return Subject(classifier, classifier, True)


def subject_on_images(adapted: AdaptedModel) -> Subject:
    """The whole model, whatever is trained."""
    return Subject(adapted.model, adapted.model, False)


def _learns_head_only(adapted: AdaptedModel, job: Job) -> bool:
    """Methods that take hold of tokens may drop them at random, so they are never frozen into features."""
    recipe, adaptation = job.recipe, adapted.adaptation
    is_plain = recipe.augment == "none" and not mixes(recipe) and recipe.drop_path == 0
    has_hooks = adaptation.extra_loss is not None or adaptation.after_step is not None
    touches_tokens = any("tokens" in method.seams for method in adapted.methods)
    has_one_head = isinstance(_classifier(adapted.model), nn.Linear)
    return not adapted.trained and is_plain and not has_hooks and not touches_tokens and has_one_head


def _classifier(model: Any) -> nn.Module:
    found: nn.Module = model.get_classifier()
    return found


class FeatureFeed:
    """A split whose images are replaced by what the frozen model hands to its head, computed once in eval mode."""

    def __init__(self, model: nn.Module, batches: Batches, job: Job, reporter: Reporter) -> None:
        self._batches, self._job = batches, job
        self._features, self._labels = _features(model, batches, job, reporter)

    def __len__(self) -> int:
        return len(self._batches)

    def steps(self, batch_size: int) -> int:
        return self._batches.steps(batch_size)

    def trained(self, epoch: int) -> Iterator[Batch]:
        """The order of `Batches.trained`: both paths see the same batches."""
        for chosen in self._batches.order(self._job.recipe.batch_size, "order", epoch):
            there = chosen.to(self._features.device)
            labels = self._labels[there]
            yield Batch(self._features[there], labels, labels)

    def in_order(self) -> Iterator[Batch]:
        start = 0
        for size in self._batches.evaluation_sizes():
            part = slice(start, start + size)
            yield Batch(self._features[part], self._labels[part], self._labels[part])
            start += size


def _features(model: nn.Module, batches: Batches, job: Job, reporter: Reporter) -> tuple[Tensor, Tensor]:
    """What reaches the classifier [n, features] and labels [n], on the device."""
    caught: list[Tensor] = []
    labels: list[Tensor] = []
    hook = _classifier(model).register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches.in_order():
                with autocast(job.recipe.precision, batch.images.device):
                    model(batch.images)
                labels.append(batch.labels)
                reporter.step("features", sum(map(len, labels)), len(batches))
    finally:
        hook.remove()
    return torch.cat(caught), torch.cat(labels)
