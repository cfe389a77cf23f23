"""BitFit and partial fine-tuning keep the contract and train what their papers count (peft_field.md 3, VPT)."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from methods.api import Method, MethodError
from methods.bitfit import BitFit
from methods.lora import LoRA
from methods.partial import Partial
from methods.stack import prepare_stack
from methods.testing import MethodContract, TinyData, tiny_vit
from workers.backbone_facts import table

WIDTH = 16
BLOCK = 12 * WIDTH**2 + 15 * WIDTH  # 13 · D of the layers and norms, 2 · D of LayerScale


class TestBitFit(MethodContract):
    method: Method = BitFit()
    trained_params = 2 * 11 * WIDTH + 2 * WIDTH  # two blocks; patch embedding and final norm


class TestPartial(MethodContract):
    method: Method = Partial()
    trained_params = BLOCK + 2 * WIDTH


class TestPartialOfTwoBlocks(MethodContract):
    method: Method = Partial(blocks=2)
    trained_params = 2 * BLOCK + 2 * WIDTH


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = timm.create_model(name, num_classes=10)
    return model


def trained_of(method: Method, name: str) -> dict[str, int]:
    model = on_meta(name)
    return {item: model.get_parameter(item).numel() for item in method.prepare(model, TinyData()).trainable}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (BitFit(), 102_912),
        (Partial(1), 7_087_872 + 1_536),
        (Partial(4), 4 * 7_087_872 + 1_536),
        (Partial(12), 12 * 7_087_872 + 1_536),
    ],
)
def test_the_counts_on_vit_b_are_those_of_the_papers(method: Method, expected: int):
    assert sum(trained_of(method, "vit_base_patch16_224").values()) == expected


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_tiny"])
def test_bitfit_trains_every_bias_outside_the_head_and_nothing_else(name: str):
    expected = {
        item
        for item, _ in on_meta(name).named_parameters()
        if item.endswith(".bias") and item not in ("head.bias", "head.fc.bias")
    }
    assert set(trained_of(BitFit(), name)) == expected


def test_swin_s_bias_tables_are_no_biases():
    assert not any("bias_table" in item for item in trained_of(BitFit(), "swin_tiny_patch4_window7_224"))


def test_the_last_blocks_of_swin_are_counted_through_the_stages_with_the_reduction_between():
    trained = trained_of(Partial(3), "swin_tiny_patch4_window7_224")  # blocks 2, 2, 6, 2
    owners = {".".join(item.split(".")[:4]) if ".blocks." in item else item.rpartition(".")[0] for item in trained}
    blocks = {"layers.2.blocks.5", "layers.3.blocks.0", "layers.3.blocks.1"}
    assert owners == blocks | {"layers.3.downsample.norm", "layers.3.downsample.reduction", "norm"}


def test_partial_on_convnext_trains_the_last_block_and_the_norm_before_the_head():
    trained = trained_of(Partial(1), "convnext_tiny")
    assert {item for item in trained if not item.startswith("stages.3.blocks.2.")} == {
        "head.norm.weight",
        "head.norm.bias",
    }


def test_partial_trains_the_norm_after_pooling_too():
    model = tiny_vit(global_pool="avg", class_token=False)
    trained = Partial().prepare(model, TinyData()).trainable
    assert {"fc_norm.weight", "fc_norm.bias"} <= set(trained)
    assert not any(item.startswith(("patch_embed", "pos_embed", "blocks.0", "head")) for item in trained)


def test_more_blocks_than_there_are_is_refused_with_both_numbers():
    facts = table()["vit_tiny_patch16_224"].facts
    assert Partial(12).refuses(facts) is None
    assert Partial(13).refuses(facts) == "partial.blocks is 13; vit_tiny_patch16_224 has 12 blocks"
    with pytest.raises(MethodError, match="blocks is 3; VisionTransformer has 2 blocks"):
        Partial(3).prepare(tiny_vit(), TinyData())


@pytest.mark.parametrize("method", [BitFit(), Partial()])
def test_both_go_with_lora_on_either_side(method: Method):
    one, other = tiny_vit(), tiny_vit()
    first = prepare_stack([method, LoRA(rank=2)], one, TinyData())
    second = prepare_stack([LoRA(rank=2), method], other, TinyData())
    assert set(first.trainable) == set(second.trainable)
    assert len(set(first.trainable)) == len(first.trainable)
