"""Name-safe surgery on timm models: freezing, class swaps that keep parameter names, finding blocks and the head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import nn

from methods.api import MethodError


def head_parameters(model: nn.Module) -> tuple[nn.Parameter, ...]:
    """The classifier's parameters (two classifiers for distilled DeiT); they belong to the trainer.

    Raises MethodError when the model has no `get_classifier`, as timm's models have.
    """
    return tuple(parameter for module in _classifiers(model) for parameter in module.parameters())


def modules_outside_head(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(full name, module) in the order of `named_modules`, without the classifier."""
    inside = {id(part) for module in _classifiers(model) for part in module.modules()}
    return ((name, module) for name, module in model.named_modules() if id(module) not in inside)


def freeze(model: nn.Module) -> None:
    """Nothing moves but the head, which stays as its owner left it."""
    head = {id(parameter) for parameter in head_parameters(model)}
    for parameter in model.parameters():
        if id(parameter) not in head:
            parameter.requires_grad_(False)


def thaw(parameters: Iterable[nn.Parameter]) -> None:
    """These may move."""
    for parameter in parameters:
        parameter.requires_grad_(True)


def names_of(model: nn.Module, parameters: Iterable[nn.Parameter]) -> tuple[str, ...]:
    """Full names by identity, in the model's order; a parameter that the model no longer holds is left out."""
    wanted = {id(parameter) for parameter in parameters}
    return tuple(name for name, parameter in model.named_parameters() if id(parameter) in wanted)


def transformer_blocks(model: nn.Module) -> list[nn.Module]:
    """The residual blocks in order of depth: ViT's `blocks`, or those of Swin's `layers` and ConvNeXt's `stages`."""
    if isinstance(blocks := getattr(model, "blocks", None), nn.Sequential | nn.ModuleList):
        return list(blocks)
    stages = getattr(model, "layers", None) or getattr(model, "stages", None)
    if stages is None:
        raise MethodError(
            f"{type(model).__name__} has no blocks, layers or stages; expected a ViT, Swin or ConvNeXt of timm"
        )
    return [block for stage in stages for block in stage.blocks]


def swap_class(module: nn.Module, expected: type[nn.Module], replacement: type[nn.Module]) -> None:
    """Give the module another class in place, so that no name changes. Raises MethodError when it is not `expected`.

    `replacement` must be defined at module level, or the model can no longer be pickled. The check is exact: a
    subclass has a forward of its own, which the swap would silently undo.
    """
    if type(module) is not expected:
        raise MethodError(
            f"cannot turn a {type(module).__name__} into a {replacement.__name__}: expected exactly "
            f"{expected.__name__}; another method may have taken it first"
        )
    module.__class__ = replacement


def _classifiers(model: nn.Module) -> tuple[nn.Module, ...]:
    get = getattr(model, "get_classifier", None)
    if get is None:
        raise MethodError(f"{type(model).__name__} has no get_classifier(); a backbone must say which part is its head")
    found = get()
    return tuple(found) if isinstance(found, tuple) else (found,)
