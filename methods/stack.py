"""Several methods on one model, left to right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from methods.api import Adaptation, Method, MethodError, RefusedStack, TrainingData
from methods.facts import facts_of, refuse_stack
from methods.surgery import freeze, names_of, thaw


def prepare_stack(methods: Sequence[Method], model: nn.Module, data: TrainingData) -> Adaptation:
    """Patch the model with every method in turn; what may move is the union of what they declare.

    Raises RefusedStack when two methods take hold of one seam. A later method may rename what an earlier one
    declared, so names are resolved again, by identity of the parameter, after the last of them.
    """
    reason = refuse_stack([facts_of(type(method)) for method in methods])
    if reason is not None:
        raise RefusedStack(reason)
    trainable: list[nn.Parameter] = []
    factors: list[tuple[nn.Parameter, float]] = []
    parts = []
    for method in methods:
        part = method.prepare(model, data)
        parameters = dict(model.named_parameters())
        trainable += [parameters[name] for name in part.trainable]
        factors += [(parameters[name], factor) for name, factor in part.lr_factor.items()]
        parts.append(part)
    freeze(model)
    thaw(trainable)
    return Adaptation(
        trainable=names_of(model, trainable),
        lr_factor={name: factor for parameter, factor in factors for name in names_of(model, [parameter])},
        carried=_carried(parts),
        extra_loss=_sum_of([part.extra_loss for part in parts if part.extra_loss]),
        after_step=_each_of([part.after_step for part in parts if part.after_step]),
    )


def merge_stack(methods: Sequence[Method], model: nn.Module) -> nn.Module:
    """Fold the methods away where they can be, last one first; in place."""
    for method in reversed(methods):
        model = method.merge(model)
    return model


def _carried(parts: Sequence[Adaptation]) -> Mapping[str, Mapping[str, Tensor]]:
    carried: dict[str, Mapping[str, Tensor]] = {}
    for part in parts:
        both = sorted(carried.keys() & part.carried.keys())
        if both:
            raise MethodError(
                f"two methods of the stack carry the artifact {both[0]!r}; their deltas could not be told apart"
            )
        carried.update(part.carried)
    return carried


def _sum_of(losses: Sequence[Callable[[], Tensor]]) -> Callable[[], Tensor] | None:
    if len(losses) < 2:
        return losses[0] if losses else None

    def total() -> Tensor:
        first, *others = [loss() for loss in losses]
        for other in others:
            first = first + other
        return first

    return total


def _each_of(hooks: Sequence[Callable[[int], None]]) -> Callable[[int], None] | None:
    if len(hooks) < 2:
        return hooks[0] if hooks else None

    def every(step: int) -> None:
        for hook in hooks:
            hook(step)

    return every
