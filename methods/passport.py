"""A method's passport: what it costs, measured on a small real architecture with random weights, by running it.

The reference is timm's ViT-Ti/16 at 96 pixels with 10 classes and the method's default hyper-parameters. MACs are
those of the matrix products of one image. The promises behind it (only what is declared moves, merge keeps the
function …) are tested for every method by `methods.testing.MethodContract`.
"""

from __future__ import annotations

import copy

import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from methods.api import MakesArtifacts, Method, Need
from methods.facts import Passport
from methods.stack import merge_stack, prepare_stack
from methods.surgery import head_parameters
from methods.testing import TinyData

REFERENCE = "vit_tiny_patch16_224"
_IMAGE_SIZE = 96
_CLASSES = 10


def passport_of(method: Method) -> Passport:
    """Prepare, count, merge, count again."""
    plain = _reference()
    data = _data_for(method, plain)
    adapted = copy.deepcopy(plain)
    adaptation = prepare_stack([method], adapted, data)
    head = {id(parameter) for parameter in head_parameters(adapted)}
    values = dict(adapted.named_parameters())
    trained = sum(values[name].numel() for name in adaptation.trainable if id(values[name]) not in head)
    at_start = _logits(adapted)
    merged = merge_stack([method], copy.deepcopy(adapted))
    params, macs = _size(plain), _macs(plain)
    return Passport(
        reference=f"{REFERENCE} at {_IMAGE_SIZE} px",
        trained_params=trained,
        extra_params_training=_size(adapted) - params,
        extra_macs_training=_macs(adapted) - macs,
        extra_params_merged=_size(merged) - params,
        extra_macs_merged=_macs(merged) - macs,
        identity_at_start=torch.allclose(at_start, _logits(plain), atol=1e-5),
        task_adaptive=bool(method.needs),
    )


def _reference() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: nn.Module = timm.create_model(REFERENCE, pretrained=False, img_size=_IMAGE_SIZE, num_classes=_CLASSES)
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]  # plain products are counted alike everywhere
    return model.eval()


def _data_for(method: Method, model: nn.Module) -> TinyData:
    data = TinyData(images=32, image_size=_IMAGE_SIZE, classes=_CLASSES)
    if not isinstance(method, MakesArtifacts):
        return data
    made = {need.kind: method.make_artifact(need.kind, copy.deepcopy(model), data) for need in _needed(method)}
    return TinyData(images=32, image_size=_IMAGE_SIZE, classes=_CLASSES, artifacts=made)


def _needed(method: Method) -> list[Need]:
    """The needs that hold with these hyper-parameters."""
    return [need for need in method.needs if all(getattr(method, name) in of for name, of in need.when.items())]


def _image() -> torch.Tensor:
    return torch.linspace(-1, 1, 3 * _IMAGE_SIZE * _IMAGE_SIZE).reshape(1, 3, _IMAGE_SIZE, _IMAGE_SIZE)


def _logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(_image())
    return logits


def _size(model: nn.Module) -> int:
    """Values of the model; GPS's compact copies of weights that the model has anyway count as extra."""
    return sum(parameter.numel() for parameter in model.parameters())


def _macs(model: nn.Module) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        _logits(model)
    return int(counter.get_total_flops() // 2)
