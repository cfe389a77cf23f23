"""Multiply-accumulates equal fvcore's to the last digit (oracle numbers of the PYRA release, merged, without head)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from workers.backbone_facts import table
from workers.backbones import bare_architecture, unfused_attention
from workers.macs import macs_of


@pytest.mark.parametrize(
    ("name", "macs"),
    [
        ("vit_small_patch16_224", 4_607_954_304),
        ("vit_base_patch16_224", 17_581_972_224),
        ("vit_large_patch16_224", 61_603_111_936),
    ],
)
def test_macs_are_those_of_fvcore(name, macs):
    with torch.device("meta"):
        model = bare_architecture(name)
    unfused_attention(model)
    assert macs_of(model, 224) == macs
    assert table()[name].facts.macs == macs


def test_fused_attention_counts_the_same():
    model = bare_architecture("nano_vit")
    fused = macs_of(model, 32)
    unfused_attention(model)
    assert macs_of(model, 32) == fused == table()["nano_vit"].facts.macs


def test_a_linear_layer_and_a_layer_norm_count_as_defined_and_the_mode_is_kept():
    model = nn.Sequential(nn.Flatten(), nn.LayerNorm(12), nn.Linear(12, 5), nn.ReLU())
    assert macs_of(model, 2) == 5 * 12 + 12 * 5
    assert model.training


def test_a_layer_norm_without_affine_values_counts_four_per_element():
    model = nn.Sequential(nn.Flatten(), nn.LayerNorm(12, elementwise_affine=False))
    assert macs_of(model, 2) == 4 * 12
