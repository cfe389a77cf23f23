"""GPS and LoRA on small relatives of Swin and ConvNeXt: scored, trained, merged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.models.convnext import ConvNeXt
from timm.models.swin_transformer import SwinTransformer
from torch import nn
from torch.nn import functional as F

from methods.api import Method
from methods.gps import GPS
from methods.gps_selection import weights_of
from methods.lora import LoRA
from methods.stack import merge_stack, prepare_stack
from methods.testing import TinyData


def tiny_swin() -> nn.Module:
    torch.manual_seed(0)
    return SwinTransformer(
        img_size=16, patch_size=2, window_size=4, embed_dim=8, depths=(2, 1), num_heads=(2, 2), num_classes=5
    )


def tiny_convnext() -> nn.Module:
    torch.manual_seed(0)
    return ConvNeXt(depths=(1, 1, 1, 1), dims=(8, 8, 16, 16), patch_size=2, num_classes=5, ls_init_value=0.5)


@pytest.mark.parametrize(
    ("make", "method"),
    [
        (tiny_swin, GPS(selection_batch_size=8, connections_per_neuron=2)),
        (tiny_convnext, GPS(selection_batch_size=8, connections_per_neuron=2)),
        (tiny_convnext, GPS(selection_batch_size=8, level="net", exclude_blocks=(3,))),
        (tiny_swin, LoRA(targets=("qkv", "fc1"))),
    ],
)
def test_a_step_moves_all_that_is_declared_and_merging_keeps_the_function(
    make: Callable[[], nn.Module], method: Method
):
    images = 32
    data = TinyData(images=24, image_size=images if make is tiny_convnext else 16)
    artifacts = {"gps_scores": method.make_artifact("gps_scores", make(), data)} if isinstance(method, GPS) else {}
    model, data.artifacts = make(), artifacts
    adaptation = prepare_stack([method], model, data)
    before = {name: model.get_parameter(name).detach().clone() for name in adaptation.trainable}
    x, y = next(data.batches(8))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert [name for name, value in before.items() if torch.equal(value, model.get_parameter(name))] == []
    model.eval()
    trained = model(x)
    assert torch.allclose(merge_stack([method], model)(x), trained, atol=1e-5)
    plain = make()
    assert set(model.state_dict()) == set(plain.state_dict())
    if isinstance(method, GPS) and method.level == "neuron":
        old = weights_of(plain)
        for name, weight in weights_of(model).items():
            assert int((weight != old[name]).flatten(1).sum(1).max()) <= 2, name
