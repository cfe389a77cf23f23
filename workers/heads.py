"""Training of linear heads on features: step for step what autograd and torch.optim compute, without what they cost.

A step on a few thousand values is some 20 µs of arithmetic, and a quarter of a millisecond of graph, hooks and
parameter groups around it. Here the gradient is written out, and the kernels that autograd and the optimizers call are
called with the same arguments in the same order: every number is the one that they find in one thread, bit for bit on a
CPU. Heads that see the same batches from the same start take each step together.

    dW, db   <- forward and back (workers.head_passes), in the recipe's precision
    W, b     <- clip; the optimizer's fused kernel, once for all heads of one rate; the caller's running average
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from storage.records import Recipe
from workers.features import FeatureFeed
from workers.head_losses import HeadEpoch, HeadSums, StepsSeen, loss_gradients
from workers.head_passes import head_passes
from workers.head_updates import HeadUpdates, in_calls
from workers.reporting import Reporter

_STEPS_AT_ONCE = 64
"""Steps whose losses and hits are counted together, at most …"""
_KEPT_BYTES = 16 << 20
"""… and what their batches and gradients may weigh."""
_STEPS_A_LOOK = 8
"""Steps between two looks at the clock."""
_ALIGNED_BYTES = 64
"""What torch aligns a new tensor to; products of one that lies elsewhere may differ in their last bits."""
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
        self._places = in_calls(recipes)
        self._by_weight, self._by_bias = torch.empty_like(self._weight), torch.empty_like(self._bias)
        values = [(self._weight, self._by_weight), (self._bias, self._by_bias)]
        self._updates = HeadUpdates(values, [recipes[at] for at in self._places])
        shape = (self._classes,) if self._heads == 1 else (self._heads, self._classes)
        pairs = [
            (weight.view(*shape, -1), bias.view(shape))
            for weight, bias in ((self._weight, self._bias), (self._by_weight, self._by_bias))
        ]
        self._passes = head_passes(_COMPUTE[self._recipe.precision], *pairs)
        self._numbers: Iterator[Tensor] = iter(())  # of the steps, from 1, as the kernels want them

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
        features, order = feed.features[:, 0], feed.order(epoch)[:most]
        steps = feed.steps(self._recipe.batch_size)
        total, sums = self._recipe.total_epochs * steps, HeadSums(self._heads)
        numbers = torch.arange(epoch * steps + 1, (epoch + 1) * steps + 1, dtype=torch.float32)
        self._numbers = iter(numbers.to(self._weight.device).unbind())
        at_once = self._at_once(order.shape[1], features.shape[1])
        for first in range(0, len(order), at_once):
            chosen = order[first : first + at_once]
            seen = StepsSeen(feed.labels[chosen], self._heads, self._recipe.label_smoothing)
            gradients = loss_gradients(seen.labels, self._classes, self._recipe.label_smoothing)
            self._updates.plan([epoch + step / steps for step in range(first, first + len(chosen))])
            passes = self._passes.over(batches_of(features, chosen), gradients)
            for step, (logits, log_probabilities) in enumerate(passes, start=first):
                seen.add(logits, log_probabilities)
                self._update()
                if step % _STEPS_A_LOOK == 0:
                    reporter.step("train", epoch * steps + step + 1, total)
            sums.add(seen)
            if not sums.any_is_finite:
                break
        rates = self._updates.rates
        found = {place: sums.of(row, rates[row]) for row, place in enumerate(self._places)}
        return [found[at] for at in range(self._heads)]

    @torch.inference_mode()
    def passes(self, feed: FeatureFeed, most: int) -> Iterator[list[tuple[Tensor, Tensor, Tensor]]]:
        """For each of the first `most` batches: each head's logits [n, classes], and the gradients of its
        weight and bias, which hold until the next batch. No step is taken."""
        order, classes = feed.order(0)[:most], self._classes
        gradients = loss_gradients(feed.labels[order], classes, self._recipe.label_smoothing)
        for logits, _ in self._passes.over(batches_of(feed.features[:, 0], order), gradients):
            parts = (
                logits.view(self._heads, -1, classes),
                self._by_weight.split(classes),
                self._by_bias.split(classes),
            )
            yield list(zip(*parts, strict=True))

    def _at_once(self, batch: int, width: int) -> int:
        bytes_a_step = 4 * batch * (width + self._classes)
        return max(1, min(_STEPS_AT_ONCE, _KEPT_BYTES // bytes_a_step))

    def _update(self) -> None:
        """A step with the gradients as they are now."""
        if self._recipe.clip_grad_norm is not None:
            self._clip(self._recipe.clip_grad_norm)
        self._updates.step(next(self._numbers))
        if self._after_step is not None:
            self._after_step()

    def _clip(self, norm: float) -> None:
        """Torch's own, in place: it reads gradients where autograd leaves them."""
        self._moving[0].grad, self._moving[1].grad = self._by_weight, self._by_bias
        nn.utils.clip_grad_norm_(self._moving, norm)
        self._moving[0].grad = self._moving[1].grad = None


def batches_of(features: Tensor, chosen: Tensor) -> Iterable[Tensor]:
    """Of features [n, width] the rows [steps, batch]: gathered together where each batch then lies as if alone."""
    batch_bytes = chosen.shape[1] * features.shape[1] * features.element_size()
    if batch_bytes % _ALIGNED_BYTES:
        return (features.index_select(0, rows) for rows in chosen.unbind())
    return features.index_select(0, chosen.flatten()).view(*chosen.shape, -1).unbind()
