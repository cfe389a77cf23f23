"""How many values GPS trains on the architectures of the paper (official functions, run; gps.md 1.9)."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.swin_transformer import WindowAttention
from torch import nn

from methods.gps_selection import K_MAX, eligible, fully_trained, neck_norm_biases, quota, weights_in_blocks, weights_of


def on_meta(name: str, **changes: int) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = timm.create_model(name, pretrained=False, **changes)
    return model


def count(model: nn.Module, k: int, exclude_blocks: tuple[int, ...] = ()) -> int:
    excluded = weights_in_blocks(model, exclude_blocks)
    rows = sum(quota(weight, k) for name, weight in weights_of(model).items() if name not in excluded)
    return rows + sum(parameter.numel() for parameter in fully_trained(model, exclude_blocks))


@pytest.mark.parametrize("k", [1, 2, 5, 15, 20])
def test_vit_b_trains_83712_times_k_plus_one(k: int):
    assert count(on_meta("vit_base_patch16_224"), k) == 83_712 * (k + 1)


@pytest.mark.parametrize(("k", "expected"), [(1, 282_168), (2, 392_376)])
def test_swin_b_trains_its_bias_tables_too(k: int, expected: int):
    model = on_meta("swin_base_patch4_window7_224")
    assert count(model, k) == expected
    tables = [m.relative_position_bias_table for m in model.modules() if isinstance(m, WindowAttention)]
    assert sum(table.numel() for table in tables) == 63_544


@pytest.mark.parametrize(("k", "expected"), [(1, 238_464), (2, 348_672)])
def test_convnext_b_trains_its_layer_scales_too(k: int, expected: int):
    assert count(on_meta("convnext_base"), k) == expected


@pytest.mark.parametrize(("k", "expected"), [(1, 168_448), (2, 252_672)])
def test_the_sam_encoder_differs_from_the_release_by_the_biases_of_two_neck_norms(k: int, expected: int):
    """The release freezes what is called norm; SAM's neck norms are not, so it trains their 512 biases."""
    model = on_meta("samvit_base_patch16")
    assert count(model, k) == expected - 512
    assert sum(bias.numel() for bias in neck_norm_biases(model)) == 512


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "convnext_tiny", "swin_tiny_patch4_window7_224"])
def test_no_other_family_has_such_biases(name: str):
    assert neck_norm_biases(on_meta(name)) == []


def test_the_patch_embedding_and_all_heads_rows_are_counted_once():
    model = on_meta("vit_base_patch16_224")
    assert sum(weight.numel() for weight in weights_of(model).values()) == 85_524_480
    assert sum(module.bias.numel() for module in eligible(model).values()) == 83_712
    assert sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in model.head.parameters()) == 85_798_656


@pytest.mark.parametrize("blocks", [(0,), (1,), (0, 1, 2), tuple(range(12))])
def test_each_excluded_block_of_vit_b_takes_away_its_6912_rows_and_biases(blocks: tuple[int, ...]):
    assert count(on_meta("vit_base_patch16_224"), 1, blocks) == 167_424 - 2 * 6_912 * len(blocks)


def test_excluding_a_block_of_swin_counts_blocks_through_the_stages():
    model = on_meta("swin_base_patch4_window7_224")
    assert weights_in_blocks(model, (2,)) == {
        name for name in weights_of(model) if name.startswith("layers.1.blocks.0.")
    }


def test_the_head_of_convnext_is_the_trainers_and_its_norm_stays():
    names = set(weights_of(on_meta("convnext_base")))
    assert "head.fc.weight" not in names
    assert not any("norm" in name for name in names)


def test_the_mean_share_over_vtab_with_the_release_s_k_is_0_244_percent():
    classes = (102, 100, 47, 102, 37, 10, 397, 2, 10, 45, 5, 8, 6, 6, 4, 16, 16, 18, 9)  # gps.md 3.3, in its order
    model = on_meta("vit_base_patch16_224", num_classes=0)
    total = sum(parameter.numel() for parameter in model.parameters())
    shares = []
    for number, c in enumerate(classes):
        trained = count(model, 2 if number == 7 else 1) + 769 * c
        shares.append(100 * trained / (total + 769 * c))
    assert sum(shares) / len(shares) == pytest.approx(0.2444, abs=5e-5)


def test_stored_orders_of_vit_b_stay_below_20_mb():
    rows = sum(quota(weight, K_MAX) for weight in weights_of(on_meta("vit_base_patch16_224")).values())
    assert rows * (2 + 4 + 4) <= 20e6
