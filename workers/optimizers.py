"""Optimizers over exactly the trained values, and what their state weighs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from storage.records import Recipe

_STEP_COUNTER_BYTES = 4  # torch keeps it as one fp32 value


def make_optimizer(
    recipe: Recipe, trained: Mapping[str, nn.Parameter], lr_factor: Mapping[str, float], undecayed: frozenset[str]
) -> torch.optim.Optimizer:
    """AdamW, Adam or SGD in torch's defaults (betas 0.9 and 0.999, eps 1e-8), fused where the device has it.

    One rule for weight decay: it acts on tensors of two and more dimensions that the model does not list as
    undecayed (timm's `no_weight_decay`: position embeddings, tokens). Biases, norms and scales are never decayed.
    Each group carries its `lr_factor`; `set_lr` multiplies.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        is_decayed = parameter.ndim >= 2 and name not in undecayed
        groups.setdefault((lr_factor.get(name, 1.0), is_decayed), []).append(parameter)
    settings = [
        {"params": parameters, "lr_factor": factor, "weight_decay": recipe.weight_decay if is_decayed else 0.0}
        for (factor, is_decayed), parameters in groups.items()
    ]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(settings, lr=recipe.lr, momentum=recipe.momentum, fused=True)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(settings, lr=recipe.lr, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group the rate times its factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of all tensors in the optimizer's state (its step counters included)."""
    return sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )


def expected_state_bytes(recipe: Recipe, trained: Iterable[Tensor]) -> int:
    """What `state_bytes` gives after the first step over these values, without making the state.

    Adam and AdamW hold two averages of each value's own type and a 4-byte step counter per tensor; SGD holds one
    momentum, and nothing where `recipe.momentum` is 0.
    """
    sizes = [value.numel() * value.element_size() for value in trained]
    if recipe.optimizer == "sgd":
        return sum(sizes) if recipe.momentum else 0
    return 2 * sum(sizes) + _STEP_COUNTER_BYTES * len(sizes)


Update = Callable[[float, Tensor], None]


def fused_update(recipe: Recipe, values: Sequence[Tensor], gradients: Sequence[Tensor], weight_decay: float) -> Update:
    """What a step of `make_optimizer`'s optimizer does to values of one rate and decay, called with the rate and the
    number of the step (fp32, from 1): the kernel alone, in place. It reads the gradients where they are now. Its state
    lives as long as the function."""
    if recipe.optimizer == "sgd":
        return _fused_sgd(recipe.momentum, list(values), list(gradients), weight_decay)
    kernel = torch._fused_adamw_ if recipe.optimizer == "adamw" else torch._fused_adam_
    kernel = partial(kernel, beta1=0.9, beta2=0.999, weight_decay=weight_decay, eps=1e-8, amsgrad=False, maximize=False)
    held, grads = list(values), list(gradients)
    means, squares = ([torch.zeros_like(one) for one in held] for _ in range(2))

    def update(lr: float, number: Tensor) -> None:
        kernel(held, grads, means, squares, [], [number] * len(held), lr=lr)

    return update


def _fused_sgd(momentum: float, values: list[Tensor], gradients: list[Tensor], weight_decay: float) -> Update:
    kernel = partial(
        torch._fused_sgd_, momentum=momentum, weight_decay=weight_decay, dampening=0.0, nesterov=False, maximize=False
    )
    held = [torch.empty_like(one) for one in values] if momentum else []
    is_first = bool(momentum)

    def update(lr: float, number: Tensor) -> None:
        nonlocal is_first
        kernel(values, gradients, held, lr=lr, is_first_step=is_first)
        is_first = False

    return update


class Average:
    """Exponential moving average of the trained values only: unselected weights cannot drift (GPS notes, §1.6)."""

    def __init__(self, trained: Mapping[str, nn.Parameter], decay: float) -> None:
        self._trained = list(trained.values())
        self._decay = decay
        self._average = [parameter.detach().clone() for parameter in self._trained]

    @torch.no_grad()
    def update(self) -> None:
        """average <- decay x average + (1 - decay) x value."""
        torch._foreach_lerp_(self._average, [parameter.detach() for parameter in self._trained], 1 - self._decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the values with their averages; call it twice and nothing has changed."""
        for parameter, average in zip(self._trained, self._average, strict=True):
            held = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(held)
