"""Layers of which only selected weights are trained, held as compact values.

`gps_values` is the only thing that an optimizer, an average of weights or weight decay ever sees of the weight; its
shape is [rows, K] or [n]. The forward pass writes the values into the frozen weight and runs one dense product, so
it costs what the plain layer costs. The backward pass makes the gradient of the selected entries and no more:

- linear layers on a CPU: Σ_n gy[n, row] · x[n, column] per entry, without the dense product (gradient of
  `embedding_bag`'s per-sample weights, which is this sampled product). With layers of ViT-S it takes a sixth of the
  dense product's time at K = 1 and a third to a half at K = 15; tests/benchmarks/bench_gps.py measures whole steps;
- elsewhere (GPU, convolutions) the dense product, gathered and freed before the next layer.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from methods.api import MethodError
from methods.surgery import swap_class


class CompactLinear(nn.Linear):
    """nn.Linear of which the entries `gps_index` of the flattened weight are trained as `gps_values`."""

    plain: ClassVar[type[nn.Module]] = nn.Linear
    gps_values: nn.Parameter
    gps_index: Tensor  # int64, (number of values,)

    def forward(self, input: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        return _CompactLinear.apply(input, self.gps_values, self.bias, self)


class CompactConv2d(nn.Conv2d):
    """nn.Conv2d of which the entries `gps_index` of the flattened weight are trained as `gps_values`."""

    plain: ClassVar[type[nn.Module]] = nn.Conv2d
    gps_values: nn.Parameter
    gps_index: Tensor

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, H', W')."""
        return _CompactConv2d.apply(input, self.gps_values, self.bias, self)


def compact(module: nn.Module, index: Tensor) -> nn.Parameter:
    """Turn the layer into its compact class in place; returns the values.

    index: flat positions in the weight, [rows, K] or [n]; the values take its shape and the weight's present entries.
    Raises MethodError for a module that is no plain nn.Linear or nn.Conv2d with numeric zero padding.
    """
    if isinstance(module, nn.Conv2d):
        if module.padding_mode != "zeros" or isinstance(module.padding, str):
            raise MethodError(
                f"gps needs convolutions with numeric zero padding, not {module.padding!r} {module.padding_mode}"
            )
        swap_class(module, nn.Conv2d, CompactConv2d)
    else:
        swap_class(module, nn.Linear, CompactLinear)
    weight: Tensor = module.weight  # type: ignore[assignment]
    weight.requires_grad_(False)
    flat = index.to(device=weight.device, dtype=torch.int64)
    module.register_buffer("gps_index", flat.flatten(), persistent=False)
    module.gps_values = nn.Parameter(weight.detach().flatten()[flat.flatten()].reshape(flat.shape))
    return module.gps_values


def restore_plain(module: CompactLinear | CompactConv2d) -> None:
    """The layer as a plain one that holds the trained values; in place."""
    _write(module.weight, module.gps_values, module.gps_index)
    del module.gps_values, module.gps_index
    swap_class(module, type(module), module.plain)


def _write(weight: Tensor, values: Tensor, index: Tensor) -> None:
    # .data: two forward passes before one backward write the same values, which must not count as a change of a
    # saved tensor. A step in between is still noticed, because `values` is saved too.
    weight.data.view(-1).index_copy_(0, index, values.data.flatten().to(weight.dtype))


def _compute_dtype(device_type: str, plain: torch.dtype) -> torch.dtype:
    """Autocast's dtype where it is on: inside an autograd function its casts are ours to make."""
    is_on = torch.amp.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)  # meta has none
    return torch.get_autocast_dtype(device_type) if is_on else plain


class _CompactLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, bias: Tensor | None, layer: CompactLinear) -> Tensor:
        _write(layer.weight, values, layer.gps_index)
        dtype = _compute_dtype(x.device.type, layer.weight.dtype)
        ctx.layer, ctx.input_dtype = layer, x.dtype
        x = x.to(dtype)
        ctx.save_for_backward(x, values)
        return F.linear(x, layer.weight.to(dtype), None if bias is None else bias.to(dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, values = ctx.saved_tensors
        weight, index = ctx.layer.weight, ctx.layer.gps_index
        needs_x, needs_values, needs_bias = ctx.needs_input_grad[:3]
        rows = gy.flatten(0, -2)
        grad_x = (gy @ weight.to(gy.dtype)).to(ctx.input_dtype) if needs_x else None
        grad_values = _sampled_product(rows, x.flatten(0, -2), index) if needs_values else None
        grad_bias = rows.sum(0, dtype=weight.dtype) if needs_bias else None
        return grad_x, None if grad_values is None else grad_values.view_as(values).to(values.dtype), grad_bias, None


def _sampled_product(gy: Tensor, x: Tensor, index: Tensor) -> Tensor:
    """(gyᵀ x) at the flat positions `index`. gy: (N, out), x: (N, in); returns (number of positions,)."""
    if gy.device.type != "cpu":
        return (gy.T @ x).view(-1)[index]
    row, column = index // x.shape[1], index % x.shape[1]
    dtype = torch.float64 if gy.dtype == torch.float64 else torch.float32
    gy_t, x_t = (part.T.to(dtype).contiguous() for part in (gy, x))
    unused, mode_sum, no_padding = index.new_zeros(1), 0, -1
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(
        gy_t, x_t, column, unused, row, mode_sum, no_padding
    )


class _CompactConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, values: Tensor, bias: Tensor | None, layer: CompactConv2d) -> Tensor:
        _write(layer.weight, values, layer.gps_index)
        dtype = _compute_dtype(x.device.type, layer.weight.dtype)
        ctx.layer, ctx.input_dtype = layer, x.dtype
        x = x.to(dtype)
        ctx.save_for_backward(x, values)
        bias = None if bias is None else bias.to(dtype)
        return F.conv2d(x, layer.weight.to(dtype), bias, layer.stride, layer.padding, layer.dilation, layer.groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        x, values = ctx.saved_tensors
        layer = ctx.layer
        needs_x, needs_values, needs_bias = needs = list(ctx.needs_input_grad[:3])
        geometry = (layer.stride, layer.padding, layer.dilation, False, [0, 0], layer.groups)
        grad_x, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            gy, x, layer.weight.to(gy.dtype), [layer.out_channels], *geometry, needs
        )
        return (
            grad_x.to(ctx.input_dtype) if needs_x else None,
            grad_weight.reshape(-1)[layer.gps_index].view_as(values).to(values.dtype) if needs_values else None,
            grad_bias.to(values.dtype) if needs_bias else None,
            None,
        )
