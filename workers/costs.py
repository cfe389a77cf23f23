"""What a stack on a backbone costs, counted without weights and without data.

The model is built on the meta device, where tensors have shapes and no values, and adapted by the code that jobs run:
nothing here is a formula of a method. ViT-L takes seconds and no memory to speak of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from methods import registry
from methods.api import BackboneFacts, CountsWithoutData, Method, MethodError, MissingArtifact
from methods.stack import merge_stack
from methods.surgery import transformer_blocks
from storage.records import CLASSIFICATION, SEGMENTATION, MethodCall, Recipe
from workers.adapted import AdaptedModel, adapted_by
from workers.backbones import bare_architecture, fit_input_size, unfused_attention
from workers.checkpoint import delta_tensors
from workers.errors import Unsupported
from workers.macs import macs_of
from workers.optimizers import expected_state_bytes
from workers.randomness import generator, seeded
from workers.segmentation.model import Segmenter, segmenter


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Exact integers.

    `trainable_params`: without the head. `macs`: one image, fvcore's convention (`workers.macs`), head included,
    adapters beside the layers; `macs_merged`: adapters folded in where they can be. `tokens`: the sequence's length
    after each block, None where blocks hand on maps instead of sequences. `checkpoint_bytes`: the tensors of a delta
    (trained values, head, what methods carry), without the file's header. `optimizer_state_bytes`: what torch holds
    after the first step.
    """

    trainable_params: int
    head_params: int
    macs: int
    macs_merged: int
    tokens: tuple[int, ...] | None
    checkpoint_bytes: int
    optimizer_state_bytes: int


def costs_of(
    backbone: BackboneFacts, calls: Sequence[MethodCall], classes: int, recipe: Recipe, task: str = CLASSIFICATION
) -> Costs:
    """Build, adapt, count, merge, count again.

    `calls`: methods left to right with resolved hyper-parameters; the input has `backbone.image_size` pixels. Of the
    recipe the optimizer matters, and its momentum. `task`: with segmentation the head is a mask decoder, and `classes`
    is not read. Raises UnknownBackbone, Unsupported, MethodError.
    """
    methods = tuple(registry.build(call.name, call.kwargs) for call in calls)
    reasons = [reason for method in methods if (reason := method.refuses(backbone)) is not None]
    if reasons:
        raise Unsupported("; ".join(reasons))
    model = _plain_model(backbone, classes, task)
    with seeded(0, "prepare"), _same_parameters_on_meta():
        adapted = adapted_by(methods, model, _NoData(methods, model, classes))
    macs, tokens = _macs_and_tokens(adapted.model, backbone.image_size)
    counted = {
        "trainable_params": sum(value.numel() for value in adapted.trained.values()),
        "head_params": sum(value.numel() for value in adapted.head.values()),
        "checkpoint_bytes": sum(value.numel() * value.element_size() for value in delta_tensors(adapted).values()),
        "optimizer_state_bytes": expected_state_bytes(recipe, _with_gradient(adapted)),
    }
    merged = merge_stack(methods, adapted.model)  # in place: what is counted above is gone
    return Costs(macs=macs, tokens=tokens, macs_merged=macs_of(merged, backbone.image_size), **counted)


def _with_gradient(adapted: AdaptedModel) -> list[nn.Parameter]:
    """What moves, without the part of SAM's decoder that a single mask does not need."""
    idle = adapted.model.idle_names() if isinstance(adapted.model, Segmenter) else frozenset()
    return [value for name, value in adapted.moving.items() if name not in idle]


def _plain_model(backbone: BackboneFacts, classes: int, task: str) -> nn.Module:
    with torch.device("meta"):
        model = bare_architecture(backbone.name, backbone.image_size)
        fit_input_size(model, backbone.name, backbone.image_size)
        if task == SEGMENTATION:
            model = segmenter(model, backbone.name)
        else:
            model.reset_classifier(classes)  # type: ignore[operator]  # all of timm's models have it
    unfused_attention(model)
    return model


@contextmanager
def _same_parameters_on_meta() -> Iterator[None]:
    """A method may make a module on the CPU, keep its parameters, and move it to the model's device; on every device
    but meta they stay the same objects, by which a stack knows them. Here too."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def _macs_and_tokens(model: nn.Module, image_size: int) -> tuple[int, tuple[int, ...] | None]:
    """One forward pass gives both: the blocks are watched while the products are counted."""
    seen: list[tuple[int, ...]] = []

    def note_shape(module: nn.Module, given: object, handed_on: Tensor | tuple[Tensor, ...]) -> None:
        first = handed_on[0] if isinstance(handed_on, tuple) else handed_on  # token reduction hands on sizes too
        seen.append(tuple(first.shape))

    watched = [block.register_forward_hook(note_shape) for block in _blocks(model)]
    try:
        macs = macs_of(model, image_size)
    finally:
        for handle in watched:
            handle.remove()
    are_sequences = bool(seen) and all(len(shape) == 3 for shape in seen)
    return macs, tuple(shape[1] for shape in seen) if are_sequences else None


def _blocks(model: nn.Module) -> list[nn.Module]:
    try:
        return transformer_blocks(model)
    except MethodError:  # raw pixels, ResNets
        return []


class _NoData:
    """TrainingData for counting: no images, and stand-ins for artifacts."""

    def __init__(self, methods: tuple[Method, ...], model: nn.Module, classes: int) -> None:
        self._methods, self._model = methods, model
        self.classes = classes
        self.generator: Generator = generator(0, "method")

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        raise Unsupported("a method reads images while it is prepared; its costs cannot be counted without data")

    two_view_batches = batches

    def artifact(self, kind: str) -> Mapping[str, Tensor]:
        for method in self._methods:
            if isinstance(method, CountsWithoutData) and kind in {need.kind for need in method.needs}:
                return method.stand_in(kind, self._model)
        raise MissingArtifact(
            f"the artifact {kind!r} needs data, and no method of the stack has a stand-in for it "
            "(methods.api.CountsWithoutData); its costs cannot be counted without data"
        )
