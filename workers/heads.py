"""Training of linear heads on features: step for step what autograd and torch.optim compute, without what they cost.

A step on a few thousand values is some 20 µs of arithmetic, and a quarter of a millisecond of graph, hooks and
parameter groups around it. Here the gradient is written out, and the kernels that autograd and the optimizers call are
called with the same arguments in the same order: every number is the same, bit for bit on a CPU. Heads that see the
same batches from the same start are a batch of matrices, each multiplied as if alone: one wide product of all rounds
differently where a head has few classes.

    logits   <- x W' + b                                 in the recipe's precision; [heads, n, classes]
    d_logits <- backward of log-softmax of a constant: the loss is linear in the log-probabilities
    dW, db   <- d_logits' x, column sums of d_logits
    W, b     <- clip; the optimizer's fused kernel, once for all heads of one rate; the caller's running average
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from storage.records import Recipe
from workers.features import FeatureFeed
from workers.head_losses import HeadEpoch, HeadSums, loss_gradients, losses_of
from workers.optimizers import fused_update
from workers.reporting import Reporter
from workers.schedule import lr_at

_STEPS_AT_ONCE = 64
"""Steps whose losses and hits are counted together, at most …"""
_KEPT_BYTES = 16 << 20
"""… and what may be kept of them for that."""
_STEPS_A_LOOK = 8
"""Steps between two looks at the clock."""
_ALIGNED_BYTES = 64
"""What torch aligns a new tensor to; products of one that lies elsewhere may differ in their last bits."""
_IN_A_REGISTER = 16
"""Values of fp32 in the widest vector register there is (AVX-512)."""
_COMPUTE = {"fp32": torch.float32, "bf16": torch.bfloat16}


class HeadSteps:
    """Trains linear heads on features [n, 1, width]: one for each recipe; recipes differ in rate and decay alone.

    All begin with the values of `head`. One head is trained in place; of several, `values` has what they became.
    """

    def __init__(
        self, head: nn.Linear, recipes: Sequence[Recipe], after_step: Callable[[], None] | None = None
    ) -> None:
        self._recipe, self._after_step = recipes[0], after_step
        self._classes, self._heads = head.out_features, len(recipes)
        self._moving = [head.weight, head.bias]
        self._weight, self._bias = head.weight.detach(), head.bias.detach()  # the same memory, nothing to trace
        if self._heads > 1:
            self._weight, self._bias = self._weight.repeat(self._heads, 1), self._bias.repeat(self._heads)
        self._places = sorted(range(self._heads), key=lambda at: (recipes[at].lr, recipes[at].weight_decay))
        self._groups = self._grouped([recipes[at] for at in self._places])
        self._numbers: Iterator[Tensor] = iter(())  # of the steps, from 1, as the kernels want them
        self._dtype = _COMPUTE[self._recipe.precision]

    @staticmethod
    def trains(heads: Sequence[nn.Module], recipe: Recipe) -> bool:
        """Not fp16, whose steps are scaled and may be left out, and not two heads whose logits are averaged."""
        is_one = len(heads) == 1 and isinstance(heads[0], nn.Linear) and heads[0].bias is not None
        return is_one and recipe.precision in _COMPUTE

    @property
    def values(self) -> list[tuple[Tensor, Tensor]]:
        """Copies of each head's weight [classes, width] and bias [classes], in the order of the recipes."""
        weights, biases = self._weight.split(self._classes), self._bias.split(self._classes)
        found = dict(zip(self._places, zip(weights, biases, strict=True), strict=True))
        return [(found[at][0].clone(), found[at][1].clone()) for at in range(self._heads)]

    @torch.inference_mode()
    def epoch(self, feed: FeatureFeed, epoch: int, reporter: Reporter, most: int | None = None) -> list[HeadEpoch]:
        """One pass, or its first `most` steps: what each head's found, in the order of the recipes. It ends early when
        no head has a finite loss any more. Raises Stopped."""
        features, order = feed.features[:, 0], feed.order(epoch)
        steps = feed.steps(self._recipe.batch_size)
        order = order[:most]
        total, sums = self._recipe.total_epochs * steps, HeadSums(self._heads)
        numbers = torch.arange(epoch * steps + 1, (epoch + 1) * steps + 1, dtype=torch.float32)
        self._numbers = iter(numbers.to(self._weight.device).unbind())
        at_once = self._at_once(order.shape[1])
        for first in range(0, len(order), at_once):
            chosen = order[first : first + at_once]
            labels = feed.labels[chosen]
            gradients = loss_gradients(labels, self._classes, self._recipe.label_smoothing)
            for group in self._groups:
                group.plan([epoch + step / steps for step in range(first, first + len(chosen))])
            seen: list[tuple[Tensor, Tensor]] = []
            batches = zip(batches_of(features, chosen), gradients.unbind(), strict=True)
            for step, (batch, gradient) in enumerate(batches, start=first):
                seen.append(self._step(batch, gradient))
                if step % _STEPS_A_LOOK == 0:
                    reporter.step("train", epoch * steps + step + 1, total)
            losses = losses_of(seen, labels, self._recipe.label_smoothing)
            sums.add(losses, torch.stack([logits for logits, _ in seen]), labels)
            if not sums.any_is_finite:
                break
        return self._found(sums)

    @torch.inference_mode()
    def passes(self, feed: FeatureFeed, epoch: int, most: int) -> Iterator[list[tuple[Tensor, Tensor, Tensor]]]:
        """For each of the first `most` batches of an epoch: each head's logits [n, classes], and the gradients of its
        weight and bias. No step is taken."""
        order, classes = feed.order(epoch)[:most], self._classes
        gradients = loss_gradients(feed.labels[order], classes, self._recipe.label_smoothing)
        for batch, gradient in zip(batches_of(feed.features[:, 0], order), gradients.unbind(), strict=True):
            logits, _, by_weight, by_bias = self._passed(batch, gradient)
            parts = (logits.view(self._heads, *gradient.shape), by_weight.split(classes), by_bias.split(classes))
            yield list(zip(*parts, strict=True))

    def _found(self, sums: HeadSums) -> list[HeadEpoch]:
        rates = [group.lr for group in self._groups for _ in range(group.heads)]
        found = {place: sums.of(row, rates[row]) for row, place in enumerate(self._places)}
        return [found[at] for at in range(self._heads)]

    def _at_once(self, batch: int) -> int:
        bytes_a_step = 2 * 4 * batch * len(self._bias)
        return max(1, min(_STEPS_AT_ONCE, _KEPT_BYTES // bytes_a_step))

    def _step(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """One step; the logits and log-probabilities that it started from."""
        logits, log_probabilities, by_weight, by_bias = self._passed(x, gradient)
        if self._recipe.clip_grad_norm is not None:
            self._clip(by_weight, by_bias, self._recipe.clip_grad_norm)
        number = next(self._numbers)
        for group in self._groups:
            group.update(by_weight, by_bias, number)
        if self._after_step is not None:
            self._after_step()
        return logits, log_probabilities

    def _passed(self, x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Forward and back, of features [n, width]; `gradient` [n, classes]: of the loss by log-probability. In fp32
        the logits and log-probabilities ([n, classes], of several heads [heads, n, classes]), and the gradients."""
        weight, bias = self._weight, self._bias
        if self._dtype is not torch.float32:
            x, weight, bias = x.to(self._dtype), weight.to(self._dtype), bias.to(self._dtype)
        if self._heads == 1:
            logits = functional.linear(x, weight, bias)
        else:
            x = x.expand(self._heads, *x.shape)
            weights, biases = weight.view(self._heads, self._classes, -1), bias.view(self._heads, 1, -1)
            logits = torch.baddbmm(biases, x, weights.mT)
        if self._dtype is not torch.float32:
            logits = logits.float()
        log_probabilities = torch.log_softmax(logits, -1)
        back = torch._log_softmax_backward_data(gradient.expand(logits.shape), log_probabilities, -1, torch.float32)
        if self._dtype is not torch.float32:
            back = back.to(self._dtype)
        by_weight = back.t().mm(x) if self._heads == 1 else back.mT.bmm(x).flatten(0, 1)
        by_bias = back.sum(-2).flatten()
        if self._dtype is not torch.float32:
            by_weight, by_bias = by_weight.float(), by_bias.float()
        return logits, log_probabilities, by_weight, by_bias

    def _clip(self, by_weight: Tensor, by_bias: Tensor, norm: float) -> None:
        """Torch's own, in place: it reads gradients where autograd leaves them."""
        self._moving[0].grad, self._moving[1].grad = by_weight, by_bias
        nn.utils.clip_grad_norm_(self._moving, norm)
        self._moving[0].grad = self._moving[1].grad = None

    def _grouped(self, recipes: Sequence[Recipe]) -> list[_Group]:
        """Heads that lie below each other and that the optimizer's kernel can take in one call."""
        is_decoupled = self._recipe.optimizer == "adamw"
        kinds = groupby(recipes, key=lambda one: one.lr if is_decoupled else (one.lr, one.weight_decay))
        found, first = [], 0
        for members in (list(group) for _, group in kinds):
            rows = slice(first * self._classes, (first + len(members)) * self._classes)
            found.append(_Group(members, rows, self._weight[rows], self._bias[rows]))
            first += len(members)
        return found


@dataclass
class _Plan:
    """The rates of the steps to come; what of each head's weight is left by its decay [steps, heads, 1, 1], or None."""

    rates: Iterator[float]
    left: Iterator[Tensor] | None


class _Group:
    """Heads of one rate. Where their decays differ, AdamW's shrinking of the weights is done here, as the kernel does
    it: a product with 1 - lr x decay in fp32."""

    def __init__(self, recipes: Sequence[Recipe], rows: slice, weight: Tensor, bias: Tensor) -> None:
        self._recipe, self._rows = recipes[0], rows
        decays = [one.weight_decay for one in recipes]
        self.heads, self.lr = len(recipes), 0.0
        self._decays = np.array(decays) if len(set(decays)) > 1 else None
        self._weights = weight.view(len(recipes), -1, weight.shape[1])
        self._parts = [_parts(one, len(recipes)) for one in (weight, bias)]
        weights, biases = (one.split(rows) for one, rows in zip((weight, bias), self._parts, strict=True))
        self._update_weight = fused_update(self._recipe, weights, decays[0] if self._decays is None else 0.0)
        self._update_bias = fused_update(self._recipe, biases, 0.0)
        self._plan = _Plan(iter(()), None)

    def plan(self, times_epochs: Iterable[float]) -> None:
        """Take in when the next steps are, in epochs."""
        rates = [lr_at(self._recipe, time) for time in times_epochs]
        left = None
        if self._decays is not None:
            parts = torch.from_numpy((1 - np.outer(rates, self._decays)).astype(np.float32))
            left = iter(parts.to(self._weights.device)[:, :, None, None].unbind())
        self._plan = _Plan(iter(rates), left)

    def update(self, by_weight: Tensor, by_bias: Tensor, number: Tensor) -> None:
        """The next step, with the gradients of all heads."""
        self.lr = next(self._plan.rates)
        if self._plan.left is not None:
            self._weights.mul_(next(self._plan.left))
        self._update_weight(_cut(by_weight, self._rows, self._parts[0]), self.lr, number)
        self._update_bias(_cut(by_bias, self._rows, self._parts[1]), self.lr, number)


def _parts(value: Tensor, heads: int) -> int:
    """Rows that an optimizer's kernel may take as one tensor: all, or one head's where its values do not fill the
    registers. What is left over at a tensor's end is rounded differently."""
    return len(value) if value.numel() // heads % _IN_A_REGISTER == 0 else len(value) // heads


def _cut(gradient: Tensor, rows: slice, part: int) -> Sequence[Tensor]:
    """Those rows, in parts of so many. Views cost as much as a kernel here, so one head's gradient stays as it is."""
    if part == len(gradient):
        return [gradient]
    mine = gradient[rows]
    return [mine] if part == len(mine) else mine.split(part)


def batches_of(features: Tensor, chosen: Tensor) -> Iterable[Tensor]:
    """Of features [n, width] the rows [steps, batch]: gathered together where each batch then lies as if alone."""
    batch_bytes = chosen.shape[1] * features.shape[1] * features.element_size()
    if batch_bytes % _ALIGNED_BYTES:
        return (features.index_select(0, rows) for rows in chosen.unbind())
    return features.index_select(0, chosen.flatten()).view(*chosen.shape, -1).unbind()
