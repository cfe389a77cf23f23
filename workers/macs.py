"""Multiply-accumulates of one image, in the convention of fvcore (the one that PYRA's and ToMe's tables use)."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_NORM_PER_ELEMENT, _PLAIN_NORM_PER_ELEMENT = 5, 4  # with and without affine values
_FLOPS_PER_MAC = 2


def macs_of(model: nn.Module, image_size: int) -> int:
    """MACs of one forward pass on an image [1, 3, image_size, image_size], in eval mode, on the model's own device
    (the meta device will do, and costs nothing).

    Counted: linear layers, convolutions and matrix products (attention's two among them), one per
    multiply-accumulate, and 5 per element of a LayerNorm (4 without affine values). Softmax, activations and other
    elementwise work are not.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    was_training = model.training
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.aten.native_layer_norm: _layer_norm_flops})
    try:
        model.eval()
        with torch.no_grad(), counter:
            model(torch.zeros(1, 3, image_size, image_size, device=device))
    finally:
        model.train(was_training)
    return int(counter.get_total_flops()) // _FLOPS_PER_MAC


def _layer_norm_flops(
    input_shape: tuple[int, ...], normalized_shape: list[int], weight_shape: tuple[int, ...] | None, *_: Any, **__: Any
) -> int:
    per_element = _PLAIN_NORM_PER_ELEMENT if weight_shape is None else _NORM_PER_ELEMENT
    return _FLOPS_PER_MAC * per_element * prod(input_shape)
