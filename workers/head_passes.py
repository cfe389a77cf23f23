"""Forward and back through linear heads, written out: the kernels that autograd calls, in its order.

    logits   <- x W' + b                                 in the given precision; [heads, n, classes]
    d_logits <- backward of log-softmax of a constant: the loss is linear in the log-probabilities
    dW, db   <- d_logits' x, column sums of d_logits

Heads that see the same batch are a batch of matrices, each multiplied as if alone: one wide product of all rounds
differently where a head has few classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

Pair = tuple[Tensor, Tensor]
"""Of weights [classes, width] and biases [classes], of several heads [heads, …]."""


class HeadPasses(Protocol):
    """Goes over batches and leaves the gradients of each where they are wanted."""

    def over(self, batches: Iterable[Tensor], gradients: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The logits and log-probabilities [n, classes] of each batch [n, width], of several heads [heads, n, classes];
        they hold until the next one. `gradients` [batches, n, classes]: of each loss by the log-probabilities."""


def head_passes(dtype: torch.dtype, values: Pair, gradients: Pair) -> HeadPasses:
    """Over heads with these values: they are read where they are now, and their gradients written."""
    return (_OneHead if values[0].ndim == 2 else _Heads)(dtype, values, gradients)


class _OneHead:
    def __init__(self, dtype: torch.dtype, values: Pair, gradients: Pair) -> None:
        self._dtype, self._values, self._gradients = dtype, values, gradients

    def over(self, batches: Iterable[Tensor], gradients: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        dtype, (by_weight, by_bias) = self._dtype, self._gradients
        for batch, gradient in zip(batches, gradients.unbind(), strict=True):
            x, weight, bias = (one.to(dtype) for one in (batch, *self._values))
            logits = _in_one_thread(functional.linear, x, weight, bias).float()
            log_probabilities = torch.log_softmax(logits, -1)
            back = _back(gradient, log_probabilities).to(dtype)
            if dtype is by_weight.dtype:
                _in_one_thread(torch.mm, back.mT, x, out=by_weight)
                torch.sum(back, -2, out=by_bias)
            else:
                by_weight.copy_(_in_one_thread(torch.mm, back.mT, x))
                by_bias.copy_(back.sum(-2))
            yield logits, log_probabilities


class _Heads:
    """Writes over what the batch before left: memory that is asked for and given back costs as much as a kernel."""

    def __init__(self, dtype: torch.dtype, values: Pair, gradients: Pair) -> None:
        self._dtype, self._values, self._gradients = dtype, values, gradients
        self._narrow_values = self._narrow(values[0]), self._narrow(values[1])
        self._narrow_gradients = self._narrow(gradients[0]), self._narrow(gradients[1])
        self._transposed, self._rows = self._narrow_values[0].mT, self._narrow_values[1][:, None]
        # In bf16 on a CPU a batch of products differs from single ones so rarely (one value in 100,000) that a check of
        # a few steps seldom sees it.
        self._is_apart = dtype is torch.bfloat16 and values[0].device.type == "cpu"

    def over(self, batches: Iterable[Tensor], gradients: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        heads, is_narrow = len(self._rows), self._dtype is not torch.float32
        logits = gradients.new_empty(heads, *gradients.shape[1:])
        log_probabilities, back = torch.empty_like(logits), torch.empty_like(logits)
        product, narrow_back = self._narrow(logits), self._narrow(back)
        back_transposed, by_biases = narrow_back.mT, self._narrow_gradients[1]
        by_all_heads = gradients[:, None].expand(-1, heads, -1, -1).unbind()
        for batch, gradient in zip(batches, by_all_heads, strict=True):
            x = batch.to(self._dtype).expand(heads, -1, -1)
            if is_narrow:
                _copied(self._values, self._narrow_values)
            self._forward(x, product)
            if is_narrow:
                logits.copy_(product)
            torch.log_softmax(logits, -1, out=log_probabilities)
            _back(gradient, log_probabilities, out=back)
            if is_narrow:
                narrow_back.copy_(back)
            self._by_weights(back_transposed, x)
            torch.sum(narrow_back, -2, out=by_biases)
            if is_narrow:
                _copied(self._narrow_gradients, self._gradients)
            yield logits, log_probabilities

    def _narrow(self, wide: Tensor) -> Tensor:
        """Itself where the precision is fp32, else a place for it."""
        return wide if wide.dtype is self._dtype else torch.empty_like(wide, dtype=self._dtype)

    def _forward(self, x: Tensor, out: Tensor) -> None:
        if self._is_apart:
            pairs = zip(*self._narrow_values, strict=True)
            torch.stack([_in_one_thread(functional.linear, x[0], *pair) for pair in pairs], out=out)
        else:
            torch.baddbmm(self._rows, x, self._transposed, out=out)

    def _by_weights(self, back: Tensor, x: Tensor) -> None:
        out = self._narrow_gradients[0]
        if self._is_apart:
            torch.stack([_in_one_thread(torch.mm, one, x[0]) for one in back.unbind()], out=out)
        else:
            torch.bmm(back, x, out=out)


def _copied(values: Pair, places: Pair) -> None:
    for value, place in zip(values, places, strict=True):
        place.copy_(value)


def _back(gradient: Tensor, log_probabilities: Tensor, **out: Tensor) -> Tensor:
    return torch._log_softmax_backward_data(gradient, log_probabilities, -1, torch.float32, **out)


def _in_one_thread(product: Callable[..., Tensor], *values: Tensor, **out: Tensor) -> Tensor:
    """As each product of a batch is made: threads would share a few microseconds, and round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return product(*values, **out)
    finally:
        torch.set_num_threads(threads)
