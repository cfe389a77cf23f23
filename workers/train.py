"""Training of one job.

    for epoch in 0 .. epochs + cooldown_epochs - 1:
        with layer randomness seeded by (seed, epoch):
            for batch in the epoch's order, augmentation and mixing, drawn from (seed, epoch):
                lr      <- schedule(time in epochs) x the parameter's own factor
                loss    <- the task's loss of model(batch) + the method's extra loss       (in the recipe's precision)
                step    <- clip(gradient); optimizer; the method's after_step; running average of trained values
        stop as diverged if the epoch's loss is not finite
        report (loss, accuracy, rate) and what `after_epoch` measures on the averaged values, if averages are kept

With `ema_decay` the averaged values are the result: they are what is evaluated and saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn

from storage.records import EpochMetrics, Job
from workers.adapted import AdaptedModel
from workers.bundle import Bundle
from workers.clock import Stopwatch
from workers.data.batches import Batch
from workers.errors import Diverged
from workers.features import FeatureFeed, classifiers
from workers.feeds import Feed, Subject
from workers.head_losses import HeadEpoch
from workers.heads import HeadSteps
from workers.heads_together import HeadAlone, HeadOfBundle, HeadWay
from workers.objectives import Objective, objective_of
from workers.optimizers import Average, expected_state_bytes, make_optimizer, set_lr, state_bytes
from workers.precision import autocast, check_precision
from workers.randomness import seeded
from workers.reporting import Reporter
from workers.schedule import lr_at

AfterEpoch = Callable[[], dict[str, float]]


@dataclass(frozen=True)
class Training:
    """What training left behind besides the trained values themselves."""

    epochs: tuple[EpochMetrics, ...]
    optimizer_state_bytes: int


class _Tally:
    """Sums of an epoch, kept on the device so that steps do not wait for it."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._loss: Tensor | float = 0.0
        self._right: Tensor | int = 0
        self._seen = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        self._loss = self._loss + loss.detach() * len(labels)
        self._right = self._right + self._objective.right(logits.detach(), labels)
        self._seen += len(labels)

    def add_epoch(self, found: HeadEpoch) -> None:
        """All batches of an epoch at once."""
        self._loss, self._right, self._seen = found.loss_sum, found.right, found.seen

    def metrics(self) -> dict[str, float]:
        right_pct = 100 * float(self._right) / self._seen
        return {"train_loss": float(self._loss) / self._seen, self._objective.right_name: right_pct}

    def check(self, epoch: int) -> None:
        """Raises Diverged: a sum with a NaN or an infinity in it stays so."""
        if not math.isfinite(float(self._loss)):
            raise Diverged(
                f"the training loss became {float(self._loss)} in epoch {epoch + 1}; expected a finite number: "
                "lower lr, lengthen the warm-up or set clip_grad_norm"
            )


class Trainer:
    """Trains one subject on one feed; a head may be trained with those of the other jobs of its `bundle`.

    Raises Unsupported when the device cannot train in the recipe's precision."""

    def __init__(
        self, adapted: AdaptedModel, subject: Subject, job: Job, device: torch.device, bundle: Bundle | None = None
    ) -> None:
        check_precision(job.recipe.precision, device)
        self._adapted, self._subject, self._job, self._device = adapted, subject, job, device
        self._recipe, self._objective = job.recipe, objective_of(job)
        self._moving = adapted.moving
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._recipe.precision == "fp16")
        decay = self._recipe.ema_decay
        self._average = Average(self._moving, decay) if decay is not None else None
        self._head = self._head_way(bundle)
        self._steps_done = 0

    def _head_way(self, bundle: Bundle | None) -> HeadWay | None:
        """The short way, where the head alone is trained and nothing but the recipe decides how."""
        heads, is_plain = classifiers(self._adapted.model), not self._adapted.adaptation.lr_factor
        if not (self._subject.is_head_only and is_plain and HeadSteps.trains(heads, self._recipe)):
            return None
        head = cast(nn.Linear, heads[0])
        if bundle is not None and bundle.kinds.get(self._job.job_id) is not None:
            return HeadOfBundle(bundle, self._job, head)
        after_step = self._average.update if self._average is not None else None
        return HeadAlone(HeadSteps(head, [self._recipe], after_step))

    @cached_property
    def _optimizer(self) -> torch.optim.Optimizer:
        factors, undecayed = self._adapted.adaptation.lr_factor, self._adapted.undecayed
        return make_optimizer(self._recipe, self._moving, factors, undecayed)

    def run(self, feed: Feed, reporter: Reporter, clock: Stopwatch, after_epoch: AfterEpoch) -> Training:
        """All epochs. Raises Diverged and Stopped."""
        epochs = []
        for epoch in range(self._recipe.total_epochs):
            with clock.timed("train"):
                metrics = self._epoch(feed, epoch, reporter, clock)
            self._swap_average()
            metrics |= after_epoch()
            if epoch + 1 < self._recipe.total_epochs:
                self._swap_average()  # after the last epoch the averages stay in place
            epochs.append(reporter.epoch(epoch + 1, metrics, self._recipe.total_epochs))
        return Training(tuple(epochs), self._state_bytes())

    def _state_bytes(self) -> int:
        if self._head is not None:
            return expected_state_bytes(self._recipe, self._moving.values())
        return state_bytes(self._optimizer)

    def _epoch(self, feed: Feed, epoch: int, reporter: Reporter, clock: Stopwatch) -> dict[str, float]:
        if self._head is None or not isinstance(feed, FeatureFeed):
            with seeded(self._job.seed, "layers", epoch):
                return self._batches(feed, epoch, reporter)
        found, tally = self._head.epoch(feed, epoch, reporter, clock), _Tally(self._objective)
        tally.add_epoch(found)
        tally.check(epoch)
        return {**tally.metrics(), "lr": found.lr}

    def _batches(self, feed: Feed, epoch: int, reporter: Reporter) -> dict[str, float]:
        if not self._subject.is_head_only:
            self._subject.module.train()
        steps = feed.steps(self._recipe.batch_size)
        tally, lr = _Tally(self._objective), 0.0
        for step, batch in enumerate(feed.trained(epoch)):
            lr = lr_at(self._recipe, epoch + step / steps)
            set_lr(self._optimizer, lr)
            loss, logits = self._loss(batch)
            self._step(loss)
            tally.add(loss, logits, batch.labels)
            if reporter.step("train", epoch * steps + step + 1, self._recipe.total_epochs * steps):
                tally.check(epoch)
        tally.check(epoch)
        return {**tally.metrics(), "lr": lr}

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        with autocast(self._recipe.precision, self._device):
            logits = self._subject.forward(batch.images)
            extra = self._adapted.adaptation.extra_loss
            added = extra() if extra is not None else 0.0
        return self._objective.loss(logits, batch) + added, logits

    def _step(self, loss: Tensor) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        self._scaler.scale(loss).backward()
        if self._recipe.clip_grad_norm is not None:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(list(self._moving.values()), self._recipe.clip_grad_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._steps_done += 1
        if self._adapted.adaptation.after_step is not None:
            self._adapted.adaptation.after_step(self._steps_done)
        if self._average is not None:
            self._average.update()

    def _swap_average(self) -> None:
        if self._average is not None:
            self._average.swap()
