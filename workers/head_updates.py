"""What optimizers do to linear heads that lie below each other: for each head what its own would, in few calls.

A kernel takes one rate, so heads of one rate are updated together. Of several heads, AdamW's shrinking of the weights
is done before, as the kernel does it: a product with 1 - lr x decay in fp32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from storage.records import Recipe
from workers.optimizers import fused_update
from workers.schedule import lr_at

_IN_A_REGISTER = 16
"""Values of fp32 in the widest vector register there is (AVX-512)."""


def in_calls(recipes: Sequence[Recipe]) -> list[int]:
    """The order in which heads of these recipes have to lie for few calls to update them."""
    return sorted(range(len(recipes)), key=lambda at: (recipes[at].lr, recipes[at].weight_decay))


class HeadUpdates:
    """Updates weight [heads x classes, width] and bias [heads x classes] in place, each given with its gradient.

    Recipes lie `in_calls`, one for each head, and differ in rate and decay alone."""

    def __init__(self, values: Sequence[tuple[Tensor, Tensor]], recipes: Sequence[Recipe]) -> None:
        is_adamw, decays = recipes[0].optimizer == "adamw", [one.weight_decay for one in recipes]
        self._decays = np.array(decays) if is_adamw and len(recipes) > 1 and any(decays) else None
        self._weights = values[0][0].view(len(recipes), -1)
        kinds = groupby(recipes, key=lambda one: one.lr if is_adamw else (one.lr, one.weight_decay))
        groups = [list(members) for _, members in kinds]
        weights, biases = (_cut(*pair, [len(members) for members in groups]) for pair in values)
        self._groups = [
            _Group(members, pairs, is_shrunk=self._decays is not None)
            for members, *pairs in zip(groups, weights, biases, strict=True)
        ]
        self._left: Iterator[Tensor] = iter(())

    @property
    def rates(self) -> list[float]:
        """Each head's rate in the last step."""
        return [group.lr for group in self._groups for _ in range(group.heads)]

    def plan(self, times_epochs: Sequence[float]) -> None:
        """Take in when the next steps are, in epochs."""
        rates = [planned for group in self._groups for planned in [group.plan(times_epochs)] * group.heads]
        if self._decays is not None:
            left = torch.from_numpy((1 - np.array(rates).T * self._decays).astype(np.float32))
            self._left = iter(left.to(self._weights.device)[..., None].unbind())

    def step(self, number: Tensor) -> None:
        """The next step, with the gradients as they are now; `number` counts steps from 1, in fp32."""
        if self._decays is not None:
            self._weights.mul_(next(self._left))
        for group in self._groups:
            group.step(number)


_Pair = tuple[Sequence[Tensor], Sequence[Tensor]]


def _cut(value: Tensor, gradient: Tensor, groups: Sequence[int]) -> Iterator[_Pair]:
    """For groups of so many heads the tensors of a value and its gradient: all rows of a group as one where each head's
    values fill the registers. What is left over at a tensor's end is rounded differently, so else each head's."""
    rows, are_filled = len(value) // sum(groups), value.numel() // sum(groups) % _IN_A_REGISTER == 0
    sizes = [heads * rows for heads in groups]
    for mine, grads in zip(value.split(sizes), gradient.split(sizes), strict=True):
        yield ([mine], [grads]) if are_filled else (mine.split(rows), grads.split(rows))


class _Group:
    """Heads of one rate: the tensors of their weights and of their biases, with gradients."""

    def __init__(self, recipes: Sequence[Recipe], pairs: Sequence[_Pair], *, is_shrunk: bool) -> None:
        self._recipe, self.heads, self.lr = recipes[0], len(recipes), 0.0
        decay = 0.0 if is_shrunk else self._recipe.weight_decay
        (weights, by_weights), (biases, by_biases) = pairs
        calls = [(weights, by_weights, decay), (biases, by_biases, 0.0)]
        if not decay:
            calls = [([*weights, *biases], [*by_weights, *by_biases], 0.0)]
        self._updates = [fused_update(self._recipe, *call) for call in calls]
        self._rates: Iterator[float] = iter(())

    def plan(self, times_epochs: Sequence[float]) -> list[float]:
        rates = [lr_at(self._recipe, time) for time in times_epochs]
        self._rates = iter(rates)
        return rates

    def step(self, number: Tensor) -> None:
        self.lr = next(self._rates)
        for update in self._updates:
            update(self.lr, number)
