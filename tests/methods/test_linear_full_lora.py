"""Linear probing, full fine-tuning and LoRA keep the contract; LoRA is the low-rank update of its paper."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from methods.api import Method
from methods.full import Full
from methods.linear import Linear
from methods.lora import LoRA
from methods.stack import merge_stack, prepare_stack
from methods.testing import MethodContract, TinyData, outputs, tiny_vit

WIDTH, MLP = 16, 64
PARTS = ("lora_a", "lora_b")


class TestLinear(MethodContract):
    method: Method = Linear()
    trained_params = 0


class TestFull(MethodContract):
    method: Method = Full()
    # per block 12·D² + 9·D + 4·D (two norms) + 2·D (LayerScale); patch 48·D + D, cls D, pos 17·D, norm 2·D
    trained_params = 2 * (12 * WIDTH**2 + 15 * WIDTH) + (48 + 1 + 1 + 17 + 2) * WIDTH


class TestLoRA(MethodContract):
    method: Method = LoRA(rank=4)
    trained_params = 2 * 4 * (WIDTH + 3 * WIDTH)


class TestLoRAOnEveryLayer(MethodContract):
    method: Method = LoRA(rank=2, scale=2.0, targets=("qkv", "proj", "fc1", "fc2"))
    trained_params = 2 * 2 * ((WIDTH + 3 * WIDTH) + (WIDTH + WIDTH) + 2 * (WIDTH + MLP))


class TestLoRAAsReleasedWithPYRA(MethodContract):
    method: Method = LoRA(rank=4, init="trunc_normal")
    trained_params = 2 * 4 * (WIDTH + 3 * WIDTH)
    identity_at_start = False


def test_both_factors_start_at_0_02_as_released_with_pyra():
    model = timm.create_model("vit_tiny_patch16_224", num_classes=5)
    prepare_stack([LoRA(init="trunc_normal")], model, TinyData())
    drawn = {part: torch.cat([getattr(block.attn.qkv, part).flatten() for block in model.blocks]) for part in PARTS}
    assert [float(values.detach().std()) for values in drawn.values()] == pytest.approx([0.02, 0.02], rel=0.03)


def test_lora_drops_inputs_in_training_only():
    model = tiny_vit()
    prepare_stack([LoRA(init="trunc_normal", dropout=0.5)], model, TinyData())
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(model.eval()(images), model(images))
    assert not torch.allclose(model.train()(images), model(images))


def test_lora_of_rank_8_on_the_qkv_of_vit_b_trains_294912_values():
    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224", num_classes=0)
    adaptation = LoRA().prepare(model, TinyData())
    assert sum(model.get_parameter(name).numel() for name in adaptation.trainable) == 294_912


def test_lora_leaves_the_patch_embedding_alone_although_it_is_called_proj():
    adaptation = prepare_stack([LoRA(targets=("proj",))], tiny_vit(), TinyData())
    assert adaptation.trainable == tuple(f"blocks.{i}.attn.proj.lora_{part}" for i in range(2) for part in "ab")


def test_lora_adds_scale_times_b_a_to_the_weight():
    model = tiny_vit()
    prepare_stack([LoRA(rank=3, scale=0.5)], model, TinyData())
    layer = model.blocks[0].attn.qkv
    plain = layer.weight.detach().clone()
    with torch.no_grad():
        layer.lora_b.normal_(generator=torch.Generator().manual_seed(1))
    expected = plain + 0.5 * layer.lora_b.detach() @ layer.lora_a.detach()
    merge_stack([LoRA(rank=3, scale=0.5)], model)
    assert type(layer) is nn.Linear
    assert torch.allclose(layer.weight, expected, atol=1e-6)


def test_lora_keeps_every_name_of_the_backbone():
    model = tiny_vit()
    names = set(model.state_dict())
    prepare_stack([LoRA()], model, TinyData())
    assert names <= set(model.state_dict())
    merge_stack([LoRA()], model)
    assert names == set(model.state_dict())


def test_lora_draws_a_from_the_data_s_generator_and_from_nothing_else():
    def drawn(seed: int, disturbance: int) -> torch.Tensor:
        torch.manual_seed(disturbance)
        model = tiny_vit()
        prepare_stack([LoRA()], model, TinyData(seed))
        return model.blocks[1].attn.qkv.lora_a.detach()

    assert torch.equal(drawn(1, 0), drawn(1, 99))
    assert not torch.equal(drawn(1, 0), drawn(2, 0))


def test_a_linear_probe_leaves_the_outputs_bit_equal():
    model = tiny_vit()
    prepare_stack([Linear()], model, TinyData())
    assert torch.equal(outputs(model), outputs(tiny_vit()))
