"""What the trainer and the evaluation read: batches of images, or features where only the head learns, and what is then
trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from storage.records import Job
from workers.adapted import AdaptedModel
from workers.data.batches import Batch
from workers.features import classifiers, head_of


class Ordered(Protocol):
    """Images that can be evaluated."""

    def __len__(self) -> int: ...

    def in_order(self) -> Iterator[Batch]: ...


class Feed(Ordered, Protocol):
    """One split, as batches."""

    def steps(self, batch_size: int) -> int: ...

    def trained(self, epoch: int) -> Iterator[Batch]: ...


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
    head = head_of(adapted.model)
    return Subject(head, head, True)


def subject_on_images(adapted: AdaptedModel) -> Subject:
    """The whole model, whatever is trained."""
    return Subject(adapted.model, adapted.model, False)


def _learns_head_only(adapted: AdaptedModel, job: Job) -> bool:
    """Methods that take hold of tokens may drop them at random, so they are never frozen into features."""
    adaptation = adapted.adaptation
    has_hooks = adaptation.extra_loss is not None or adaptation.after_step is not None
    touches_tokens = any("tokens" in method.seams for method in adapted.methods)
    heads_are_linear = all(isinstance(head, nn.Linear) for head in classifiers(adapted.model))
    is_plain = job.recipe.sees_images_as_they_are
    return not adapted.trained and is_plain and not has_hooks and not touches_tokens and heads_are_linear
