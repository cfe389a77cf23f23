"""Training of a linear head on features: step for step what autograd and torch.optim compute, without what they cost.

A step on a few thousand values is some 20 µs of arithmetic, and a quarter of a millisecond of graph, hooks and
parameter groups around it. Here the gradient is written out, and the kernels that autograd and the optimizers call are
called with the same arguments in the same order: every number is the same, bit for bit on a CPU.

    logits   <- x W' + b                                 in the recipe's precision
    d_logits <- backward of log-softmax of a constant: the loss is linear in the log-probabilities
    dW, db   <- d_logits' x, column sums of d_logits
    W, b     <- clip; the optimizer's fused kernel; the caller's running average
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from storage.records import Recipe
from workers.features import FeatureFeed
from workers.optimizers import fused_update
from workers.reporting import Reporter
from workers.schedule import lr_at

_STEPS_AT_ONCE = 64
"""Steps whose losses and hits are counted together: what is kept of them is small beside the features."""
_STEPS_A_LOOK = 8
"""Steps between two looks at the clock."""
_ALIGNED_BYTES = 64
"""What torch aligns a new tensor to; products of one that lies elsewhere may differ in their last bits."""
_COMPUTE = {"fp32": torch.float32, "bf16": torch.bfloat16}


Counted = Callable[[Tensor, Tensor, Tensor], None]
"""Told the loss of each batch [steps], the logits [steps, n, classes] and labels [steps, n]; may raise Diverged."""


class HeadSteps:
    """Trains one linear head with a bias on features [n, 1, width]; `trains` says of which recipes and heads."""

    def __init__(self, head: nn.Linear, recipe: Recipe, after_step: Callable[[], None] | None) -> None:
        self._recipe, self._after_step = recipe, after_step
        self._moving = [head.weight, head.bias]
        self._weight, self._bias = head.weight.detach(), head.bias.detach()  # the same memory, nothing to trace
        self._numbers: Iterator[Tensor] = iter(())  # of the steps, from 1, as the kernels want them
        self._update_weight = fused_update(recipe, self._weight, recipe.weight_decay)
        self._update_bias = fused_update(recipe, self._bias, 0.0)
        self._dtype = _COMPUTE[recipe.precision]

    @staticmethod
    def trains(heads: Sequence[nn.Module], recipe: Recipe) -> bool:
        """Not fp16, whose steps are scaled and may be left out, and not two heads whose logits are averaged."""
        is_one = len(heads) == 1 and isinstance(heads[0], nn.Linear) and heads[0].bias is not None
        return is_one and recipe.precision in _COMPUTE

    @torch.inference_mode()
    def epoch(self, feed: FeatureFeed, epoch: int, reporter: Reporter, counted: Counted) -> float:
        """One pass; the rate of its last step. Raises what `reporter` and `counted` raise."""
        recipe, features, order = self._recipe, feed.features[:, 0], feed.order(epoch)
        steps = feed.steps(recipe.batch_size)
        total, lr = recipe.total_epochs * steps, 0.0
        numbers = torch.arange(epoch * steps + 1, (epoch + 1) * steps + 1, dtype=torch.float32)
        self._numbers = iter(numbers.to(self._weight.device).unbind())
        for first in range(0, steps, _STEPS_AT_ONCE):
            chosen = order[first : first + _STEPS_AT_ONCE]
            labels = feed.labels[chosen]
            gradients = loss_gradients(labels, len(self._bias), recipe.label_smoothing)
            seen: list[tuple[Tensor, Tensor]] = []
            batches = zip(batches_of(features, chosen), gradients.unbind(), strict=True)
            for step, (batch, gradient) in enumerate(batches, start=first):
                lr = lr_at(recipe, epoch + step / steps)
                seen.append(self._step(batch, gradient, lr))
                if step % _STEPS_A_LOOK == 0:
                    reporter.step("train", epoch * steps + step + 1, total)
            losses = [self._loss(*found, given) for found, given in zip(seen, labels.unbind(), strict=True)]
            counted(torch.stack(losses), torch.stack([logits for logits, _ in seen]), labels)
        return lr

    def _loss(self, logits: Tensor, log_probabilities: Tensor, labels: Tensor) -> Tensor:
        if self._recipe.label_smoothing:
            return functional.cross_entropy(logits, labels, label_smoothing=self._recipe.label_smoothing)
        return functional.nll_loss(log_probabilities, labels)

    def _step(self, x: Tensor, gradient: Tensor, lr: float) -> tuple[Tensor, Tensor]:
        """One step on features [n, width]; `gradient` [n, classes]: of the loss by log-probability. The logits and
        log-probabilities [n, classes] that it started from, in fp32."""
        if self._dtype is torch.float32:
            logits = functional.linear(x, self._weight, self._bias)
        else:
            x = x.to(self._dtype)
            logits = functional.linear(x, self._weight.to(self._dtype), self._bias.to(self._dtype)).float()
        log_probabilities = torch.log_softmax(logits, 1)
        back = torch._log_softmax_backward_data(gradient, log_probabilities, 1, torch.float32)
        if self._dtype is not torch.float32:
            back = back.to(self._dtype)
        by_weight, by_bias = back.t().mm(x), back.sum(0)
        if self._dtype is not torch.float32:
            by_weight, by_bias = by_weight.float(), by_bias.float()
        if self._recipe.clip_grad_norm is not None:
            self._clip(by_weight, by_bias, self._recipe.clip_grad_norm)
        number = next(self._numbers)
        self._update_weight(by_weight, lr, number)
        self._update_bias(by_bias, lr, number)
        if self._after_step is not None:
            self._after_step()
        return logits, log_probabilities

    def _clip(self, by_weight: Tensor, by_bias: Tensor, norm: float) -> None:
        """Torch's own, in place: it reads gradients where autograd leaves them."""
        self._moving[0].grad, self._moving[1].grad = by_weight, by_bias
        nn.utils.clip_grad_norm_(self._moving, norm)
        self._moving[0].grad = self._moving[1].grad = None


def batches_of(features: Tensor, chosen: Tensor) -> Iterable[Tensor]:
    """Of features [n, width] the rows [steps, batch]: gathered together where each batch then lies as if alone."""
    batch_bytes = chosen.shape[1] * features.shape[1] * features.element_size()
    if batch_bytes % _ALIGNED_BYTES:
        return (features.index_select(0, rows) for rows in chosen.unbind())
    return features.index_select(0, chosen.flatten()).view(*chosen.shape, -1).unbind()


def loss_gradients(labels: Tensor, classes: int, smoothing: float) -> Tensor:
    """The gradient of each batch's cross-entropy by its log-probabilities [steps, n, classes], from labels [steps, n].

    In fp32 and in autograd's order: the share of the label, and what smoothing gives to every class."""
    one, size = np.float32(1), np.float32(labels.shape[1])
    everywhere = -(np.float32(smoothing / classes) / size) if smoothing else np.float32(0)
    of_label = -(np.float32(one - smoothing) / size) + everywhere
    filled = torch.full((*labels.shape, classes), float(everywhere), device=labels.device)
    return filled.scatter_(2, labels[..., None], float(of_label))
