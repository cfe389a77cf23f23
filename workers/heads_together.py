"""Heads of a bundle, trained as one: the first job that gets there trains those of all, the others take theirs.

A batch of products is not promised to give each head the bits that it has alone. So on a CPU a few steps are taken
both ways before, once for each shape, and where anything differs every job trains its own head. On a GPU both agree
within its tolerance.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import torch
from torch import Tensor, nn

from storage.records import Job, Phase
from workers.bundle import Bundle
from workers.clock import Stopwatch
from workers.features import FeatureFeed
from workers.head_losses import HeadEpoch
from workers.heads import HeadSteps
from workers.reporting import Reporter

_log = logging.getLogger(__name__)

_CHECKED_PASSES = 8
_CHECKED_STEPS = 3  # the second and third see what the optimizer made of the ones before
_KEPT_BYTES = 256 << 20
_KEPT_VERDICTS = 16
Values = tuple[Tensor, Tensor]

verdicts: dict[tuple[object, ...], bool] = {}
"""Whether heads as one had the bits that they have alone, of the last checks of this process: the kernels are chosen by
shapes and settings, so bundles of another seed or data set are not checked again."""


class HeadWay(Protocol):
    """Trains a head epoch by epoch, in place."""

    def epoch(self, feed: FeatureFeed, epoch: int, reporter: Reporter, clock: Stopwatch) -> HeadEpoch:
        """One pass. Raises Stopped."""


class HeadAlone:
    """A job by itself."""

    def __init__(self, steps: HeadSteps) -> None:
        self._steps = steps

    def epoch(self, feed: FeatureFeed, epoch: int, reporter: Reporter, clock: Stopwatch) -> HeadEpoch:
        return self._steps.epoch(feed, epoch, reporter)[0]


@dataclass(frozen=True)
class _Trained:
    """A head's training: all epochs, the values after each of the last `len(values)`, and its share of the time."""

    epochs: tuple[HeadEpoch, ...]
    values: tuple[Values, ...]
    took_s: float


class HeadOfBundle:
    """A job of a bundle: its head is trained with all that come after it, unless it was trained with an earlier one."""

    def __init__(self, bundle: Bundle, job: Job, head: nn.Linear) -> None:
        self._bundle, self._job, self._head = bundle, job, head
        self._alone: HeadAlone | None = None
        self._trained: _Trained | None = bundle.found.pop(job.job_id, None)
        self._is_new = True

    def epoch(self, feed: FeatureFeed, epoch: int, reporter: Reporter, clock: Stopwatch) -> HeadEpoch:
        if self._is_new:
            self._is_new = False
            self._begin(feed, reporter, clock)
        if self._trained is None:
            self._alone = self._alone or HeadAlone(HeadSteps(self._head, [self._job.recipe]))
            return self._alone.epoch(feed, epoch, reporter, clock)
        behind = self._job.recipe.total_epochs - epoch
        if behind <= len(self._trained.values):
            self._put(self._trained.values[-behind])
        return self._trained.epochs[epoch]

    def _begin(self, feed: FeatureFeed, reporter: Reporter, clock: Stopwatch) -> None:
        """Take what was found, or find it for all; each job answers for its share of the time."""
        if self._trained is not None:
            clock.credit("train", self._trained.took_s)
            return
        began_s = time.monotonic()
        jobs = list(self._bundle.after(self._job))[: _most_kept(self._job, self._head)]
        if len(jobs) < 2 or not _agrees(jobs, self._head, feed, reporter):
            return
        _log.info("training the heads of %d jobs as one: %s", len(jobs), " ".join(job.job_id for job in jobs))
        epochs, values = _trained(jobs, self._head, feed, reporter)
        share_s = (time.monotonic() - began_s) / len(jobs)
        for at, job in enumerate(jobs):
            self._bundle.found[job.job_id] = _Trained(epochs[at], values[at], share_s)
        self._trained = self._bundle.found.pop(self._job.job_id)
        clock.credit("train", -share_s * (len(jobs) - 1))

    @torch.no_grad()
    def _put(self, values: Values) -> None:
        self._head.weight.copy_(values[0])
        self._head.bias.copy_(values[1])


def _looks(job: Job) -> int:
    """How many epochs are followed by a look at the head: all, or the last."""
    return job.recipe.total_epochs if job.phase is Phase.SEARCH or job.protocol == "paper" else 1


def _most_kept(job: Job, head: nn.Linear) -> int:
    """How many jobs' heads can be kept as they were at each look."""
    return max(1, _KEPT_BYTES // (4 * (head.weight.numel() + head.out_features) * _looks(job)))


def _trained(
    jobs: Sequence[Job], head: nn.Linear, feed: FeatureFeed, reporter: Reporter
) -> tuple[list[tuple[HeadEpoch, ...]], list[tuple[Values, ...]]]:
    """Of each job its epochs, and its values at each look. Raises Stopped."""
    steps, total, looks = HeadSteps(head, [job.recipe for job in jobs]), jobs[0].recipe.total_epochs, _looks(jobs[0])
    epochs: list[list[HeadEpoch]] = []
    kept: list[list[Values]] = []
    for epoch in range(total):
        epochs.append(steps.epoch(feed, epoch, reporter))
        if total - epoch <= looks:
            kept.append(steps.values)
    return list(zip(*epochs, strict=True)), list(zip(*kept, strict=True))


def _agrees(jobs: Sequence[Job], head: nn.Linear, feed: FeatureFeed, reporter: Reporter) -> bool:
    """Whether steps of each head are the same bits as one and alone. Raises Stopped."""
    if head.weight.device.type != "cpu":
        return True
    checked = (head.weight.shape, len(feed), torch.get_num_threads(), *(job.recipe for job in jobs))
    if checked not in verdicts:
        head = _stirred(head)
        is_same = _passes_agree(jobs, head, feed) and _steps_agree(jobs, head, feed, reporter)
        while len(verdicts) >= _KEPT_VERDICTS:
            verdicts.pop(next(iter(verdicts)))
        verdicts[checked] = is_same
    if not verdicts[checked]:
        _log.info("on this processor heads trained as one differ in their last bits: each job trains its own")
    return verdicts[checked]


def _passes_agree(jobs: Sequence[Job], head: nn.Linear, feed: FeatureFeed) -> bool:
    """Logits and gradients: what differs in their last bits reaches a value of a small rate only after many steps."""
    together, alone = HeadSteps(head, [job.recipe for job in jobs]), HeadSteps(deepcopy(head), [jobs[0].recipe])
    passes = (steps.passes(feed, _CHECKED_PASSES) for steps in (together, alone))
    return all(
        torch.equal(mine, theirs)
        for heads, (expected,) in zip(*passes, strict=True)
        for one in heads
        for mine, theirs in zip(one, expected, strict=True)
    )


def _steps_agree(jobs: Sequence[Job], head: nn.Linear, feed: FeatureFeed, reporter: Reporter) -> bool:
    """What the optimizer makes of them, the losses and hits. Raises Stopped."""
    together = HeadSteps(head, [job.recipe for job in jobs])
    found = together.epoch(feed, _at_full_rate(jobs[0]), reporter, _CHECKED_STEPS)
    alone = list(_each_alone(jobs, head, feed, reporter))
    return repr(found) == repr([one for one, _ in alone]) and all(  # a sum may be no number, which equals nothing
        torch.equal(mine.view(torch.int32), theirs.view(torch.int32))
        for mine_all, (_, theirs_all) in zip(together.values, alone, strict=True)
        for mine, theirs in zip(mine_all, theirs_all, strict=True)
    )


@torch.no_grad()
def _stirred(head: nn.Linear) -> nn.Linear:
    """A head that hides no difference: a bias of zeros, say, is the same whether it is added first or last."""
    chance, found = torch.Generator().manual_seed(0), deepcopy(head)
    found.weight.copy_(torch.randn(head.weight.shape, generator=chance) / head.in_features**0.5)
    found.bias.copy_(torch.randn(head.bias.shape, generator=chance))
    return found


def _at_full_rate(job: Job) -> int:
    """An epoch behind the warm-up, whose first steps move nothing."""
    return min(ceil(job.recipe.warmup_epochs or 0), job.recipe.total_epochs - 1)


def _each_alone(
    jobs: Sequence[Job], head: nn.Linear, feed: FeatureFeed, reporter: Reporter
) -> Iterator[tuple[HeadEpoch, Values]]:
    for job in jobs:
        steps = HeadSteps(deepcopy(head), [job.recipe])
        (found,) = steps.epoch(feed, _at_full_rate(job), reporter, _CHECKED_STEPS)
        yield found, steps.values[0]
