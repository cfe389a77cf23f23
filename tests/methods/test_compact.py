"""Compact layers compute what plain layers compute, and the gradient of the selected entries alone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from methods.api import MethodError
from methods.compact import compact, restore_plain

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(12, 7), (5, 9, 12)),
    "linear_without_bias": (lambda: nn.Linear(12, 7, bias=False), (5, 12)),
    "patch_embedding": (lambda: nn.Conv2d(3, 6, 4, stride=4), (2, 3, 8, 8)),
    "depthwise": (lambda: nn.Conv2d(6, 6, 7, padding=3, groups=6), (2, 6, 8, 8)),
    "downsampling_without_bias": (lambda: nn.Conv2d(4, 8, 2, stride=2, bias=False), (2, 4, 6, 6)),
}


def pair(kind: str, k: int = 3, flat: bool = False) -> tuple[nn.Module, nn.Module, Tensor, Tensor]:
    """(plain layer, its compact copy, an input, the flat positions)."""
    torch.manual_seed(3)
    make, shape = LAYERS[kind]
    plain = make()
    weight = plain.get_parameter("weight")
    columns = torch.stack([torch.randperm(weight[0].numel())[:k] for _ in range(len(weight))])
    index = columns + torch.arange(len(weight))[:, None] * weight[0].numel()
    index = index.flatten()[::2] if flat else index
    layer = copy.deepcopy(plain)
    compact(layer, index)
    return plain, layer, torch.randn(shape), index


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_output_and_gradients_are_those_of_the_plain_layer(kind: str, flat: bool):
    plain, layer, x, index = pair(kind, flat=flat)
    x_plain, x_compact = x.clone().requires_grad_(), x.clone().requires_grad_()
    y_plain, y_compact = plain(x_plain), layer(x_compact)
    assert torch.equal(y_plain, y_compact)
    gy = torch.randn_like(y_plain)
    y_plain.backward(gy)
    y_compact.backward(gy)
    values = layer.get_parameter("gps_values")
    assert values.shape == index.shape
    assert torch.allclose(values.grad, plain.get_parameter("weight").grad.flatten()[index], atol=1e-5)
    assert torch.allclose(x_compact.grad, x_plain.grad, atol=1e-5)
    assert layer.get_parameter("weight").grad is None
    if plain.bias is not None:
        assert torch.allclose(layer.get_parameter("bias").grad, plain.get_parameter("bias").grad, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "patch_embedding", "depthwise"])
def test_analytic_and_numeric_gradients_agree_in_double_precision(kind: str):
    _, layer, x, _ = pair(kind, k=2)
    layer, x = layer.double(), x.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, values, bias: layer(x), (x, layer.gps_values, layer.bias))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["linear", "patch_embedding"])
def test_autocast_computes_in_its_own_type_and_keeps_gradients_in_fp32(kind: str, dtype: torch.dtype):
    plain, layer, x, index = pair(kind)
    x_plain, x_compact = x.clone().requires_grad_(), x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=dtype):
        y_plain, y_compact = plain(x_plain), layer(x_compact)
    assert y_compact.dtype == dtype
    assert torch.equal(y_plain, y_compact)
    gy = torch.randn_like(y_plain)
    y_plain.backward(gy)
    y_compact.backward(gy)
    expected = plain.get_parameter("weight").grad.flatten()[index]
    assert layer.gps_values.grad.dtype == torch.float32
    assert torch.allclose(layer.gps_values.grad, expected, rtol=0.02, atol=0.05)
    assert torch.allclose(x_compact.grad, x_plain.grad, rtol=0.02, atol=0.02)
    assert torch.allclose(layer.bias.grad, plain.bias.grad, rtol=0.02, atol=0.05)


def test_two_forward_passes_before_one_backward_pass_add_their_gradients():
    plain, layer, x, index = pair("linear")
    (layer(x).sum() + layer(2 * x).sum()).backward()
    (plain(x).sum() + plain(2 * x).sum()).backward()
    assert torch.allclose(layer.gps_values.grad, plain.weight.grad.flatten()[index], atol=1e-4)


def test_a_step_between_forward_and_backward_is_an_error_as_for_any_parameter():
    _, layer, x, _ = pair("linear")
    y = layer(x)
    with torch.no_grad():
        layer.gps_values += 1
    with pytest.raises(RuntimeError, match="inplace"):
        y.sum().backward()


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
def test_changed_values_are_seen_at_the_next_pass_with_and_without_gradients(guard: Callable[[], object]):
    _, layer, x, _ = pair("linear")
    before = layer(x).detach().clone()
    with torch.no_grad():
        layer.gps_values.add_(1.0)
    with guard():
        after = layer(x).clone()
    assert not torch.equal(before, after)
    assert torch.equal(after, layer(x).detach())


def test_values_written_behind_autograd_s_back_are_seen_too():
    _, layer, x, _ = pair("linear")
    before = layer(x).detach().clone()
    layer.gps_values.data.add_(1.0)
    assert not torch.equal(before, layer(x).detach())


@pytest.mark.parametrize("kind", ["linear", "depthwise"])
def test_restoring_gives_a_plain_layer_with_the_trained_values(kind: str):
    plain, layer, _, index = pair(kind)
    with torch.no_grad():
        layer.gps_values += 1
    restore_plain(layer)
    assert type(layer) is type(plain)
    assert set(layer.state_dict()) == set(plain.state_dict())
    difference = (layer.weight - plain.weight).flatten()
    assert sorted(difference.nonzero().flatten().tolist()) == sorted(index.flatten().tolist())


def test_an_infinite_gradient_of_an_unselected_entry_never_reaches_the_values():
    layer = nn.Linear(2, 1, bias=False)
    values = compact(layer, torch.tensor([[0]]))
    layer(torch.tensor([[1.0, float("inf")]])).backward()
    assert values.grad.tolist() == [[1.0]]


def test_a_layer_that_another_method_has_taken_is_refused():
    layer = nn.Linear(4, 4)
    compact(layer, torch.zeros(4, 1, dtype=torch.int64))
    with pytest.raises(MethodError, match="another method"):
        compact(layer, torch.zeros(4, 1, dtype=torch.int64))


def test_a_convolution_with_named_padding_is_refused():
    with pytest.raises(MethodError, match="padding"):
        compact(nn.Conv2d(3, 3, 3, padding="same"), torch.zeros(3, 1, dtype=torch.int64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("kind", LAYERS)
def test_on_a_gpu_the_gradients_are_those_of_the_cpu(kind: str):
    _, layer, x, _ = pair(kind)
    twin = copy.deepcopy(layer).cuda()
    layer(x).square().sum().backward()
    twin(x.cuda()).square().sum().backward()
    assert torch.allclose(twin.gps_values.grad.cpu(), layer.gps_values.grad, rtol=1e-3, atol=1e-3)
