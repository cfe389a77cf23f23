"""PYRA: presets, counts, ablations, what has a gradient when, and what it stacks with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional as F

from methods.api import Adaptation, Method, RefusedStack
from methods.gps import GPS
from methods.lora import LoRA
from methods.pyra import PYRA
from methods.stack import merge_stack, prepare_stack
from methods.testing import MethodContract, TinyData, outputs, tiny_vit
from methods.tome import ToMe

WIDTH = 16
DEEP = {"depth": 3, "init_values": None}
RATES = (4, 3, 2)


def prepared(*stack: Method, **changes: Any) -> tuple[VisionTransformer, Adaptation]:
    model = tiny_vit(**{**DEEP, **changes})
    return model, prepare_stack(stack, model, TinyData())


def gradients(model: VisionTransformer, adaptation: Adaptation) -> dict[str, torch.Tensor | None]:
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    F.cross_entropy(model(images), torch.arange(8) % 5).backward()
    return {name: model.get_parameter(name).grad for name in adaptation.trainable}


def vit_b(name: str = "vit_base_patch16_224") -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=0)


@pytest.mark.parametrize(("preset", "expected"), [("default", 25_533), ("release", 27_840), ("paper", 8_637)])
def test_vit_b_at_the_high_rate_trains_what_each_preset_says(preset, expected):
    model = vit_b()
    adaptation = PYRA(merge_rate="high", preset=preset).prepare(model, TinyData())
    assert sum(model.get_parameter(name).numel() for name in adaptation.trainable) == expected


@pytest.mark.parametrize(
    ("name", "rate", "expected"),
    [
        ("vit_base_patch16_224", "low", 27_834),
        ("vit_large_patch16_224", "low", 73_918),
        ("vit_large_patch16_224", "high", 73_920),
        ("deit_base_distilled_patch16_224", "low", 27_804),
        ("deit_base_distilled_patch16_224", "high", 27_840),
    ],
)
def test_the_released_counts_hold_on_the_other_backbones(name, rate, expected):
    model = vit_b(name)
    adaptation = PYRA(merge_rate=rate, preset="release").prepare(model, TinyData())
    assert sum(model.get_parameter(each).numel() for each in adaptation.trainable) == expected


@pytest.mark.parametrize("generator", ["pyra", "w_r", "w_d", "matrix", "mlp"])
@pytest.mark.parametrize("activation", [True, False])
def test_every_generator_starts_as_plain_merging(generator, activation):
    pyra, _ = prepared(LoRA(), PYRA(schedule=RATES, preset="release", generator=generator, activation=activation))
    tome, _ = prepared(LoRA(), ToMe(schedule=RATES))
    assert torch.equal(outputs(pyra), outputs(tome))


@pytest.mark.parametrize(
    ("generator", "expected"),
    [("w_r", 2 * WIDTH + 4), ("w_d", 3 * WIDTH), ("matrix", 4 * WIDTH), ("mlp", 2 * 4 * WIDTH + 2 * WIDTH)],
)
def test_an_ablation_trains_its_own_values_alone(generator, expected):
    model, adaptation = prepared(PYRA(schedule=(4, 0, 0), generator=generator))
    assert sum(model.get_parameter(name).numel() for name in adaptation.trainable) == expected


class TestWrOnly(MethodContract):
    method: Method = PYRA(schedule=(5, 3), generator="w_r")
    trained_params = 5 + 2 * WIDTH
    identity_at_start = False


class TestMatrix(MethodContract):
    method: Method = PYRA(schedule=(5, 3), generator="matrix", activation=False)
    trained_params = 5 * WIDTH
    identity_at_start = False


class TestMlp(MethodContract):
    method: Method = PYRA(schedule=(5, 3), generator="mlp")
    trained_params = 10 * WIDTH
    identity_at_start = False


def test_at_step_0_only_w_d_learns_and_in_the_last_block_nothing_ever_does():
    model, adaptation = prepared(LoRA(init="trunc_normal"), PYRA(schedule=RATES, preset="release"))
    found = gradients(model, adaptation)
    for name, gradient in found.items():
        assert gradient is not None, name
        learns = "lora" in name or (name.endswith("w_d") and not name.startswith("blocks.2"))
        assert bool(gradient.abs().sum() > 0) == learns, name


def test_with_average_pooling_the_last_block_learns_and_keeps_its_modulator():
    model, adaptation = prepared(PYRA(schedule=RATES), class_token=False, global_pool="avg")
    found = gradients(model, adaptation)
    gradient = found["blocks.2.reduction.modulator.w_d"]
    assert gradient is not None and gradient.abs().sum() > 0


def test_the_optimizer_can_give_it_a_rate_of_its_own():
    _, adaptation = prepared(LoRA(), PYRA(schedule=RATES, lr_factor=0.1))
    factors = {name: adaptation.lr_factor.get(name, 1.0) for name in adaptation.trainable}
    assert {name: factor for name, factor in factors.items() if "modulator" in name}
    assert all(factor == (0.1 if "modulator" in name else 1.0) for name, factor in factors.items())


def test_a_switch_wins_over_its_preset():
    _, adaptation = prepared(PYRA(schedule=RATES, preset="paper", norm_affine=True, modulate_last=True))
    names = {name.removeprefix("blocks.2.reduction.modulator.") for name in adaptation.trainable if "blocks.2" in name}
    assert names == {"w_r", "w_d", "norm.weight", "norm.bias"}


@pytest.mark.parametrize(
    "changed", [{"place": "before_attn"}, {"split": "random"}, {"pooling": "mean"}, {"prop_attn": False}]
)
def test_every_switch_of_the_paper_changes_the_function(changed):
    plain, _ = prepared(PYRA(schedule=RATES))
    other, _ = prepared(replace(PYRA(schedule=RATES), **changed))
    assert not torch.allclose(outputs(plain), outputs(other), atol=1e-5)


def test_merging_lora_away_keeps_the_function_of_the_stack():
    stack = (LoRA(init="trunc_normal"), PYRA(schedule=RATES))
    model, _ = prepared(*stack)
    before = outputs(model)
    merged = merge_stack(stack, model)
    assert torch.allclose(outputs(merged), before, atol=1e-5)
    assert not any("lora" in name for name in merged.state_dict())


@pytest.mark.parametrize("reduction", [ToMe(schedule=RATES), PYRA(schedule=RATES)])
def test_gps_selects_on_the_plain_backbone_and_trains_under_reduction(reduction):
    gps = GPS(connections_per_neuron=2, selection_batch_size=8)
    scores = gps.make_artifact("gps_scores", tiny_vit(**DEEP), TinyData())
    model = tiny_vit(**DEEP)
    adaptation = prepare_stack([gps, reduction], model, TinyData(artifacts={"gps_scores": scores}))
    assert {"modulator" in name for name in adaptation.trainable} == {False, isinstance(reduction, PYRA)}
    before = outputs(model)
    assert torch.allclose(outputs(merge_stack([gps, reduction], model)), before, atol=1e-5)


def test_two_owners_of_the_tokens_are_refused():
    with pytest.raises(RefusedStack, match="both take hold of the seam"):
        prepared(ToMe(schedule=RATES), PYRA(schedule=RATES))


def distilled(preset: str) -> nn.Module:
    model = timm.create_model("deit_tiny_distilled_patch16_224", img_size=64, num_classes=5)
    adaptation = prepare_stack([PYRA(merge_rate="high", preset=preset)], model, TinyData(image_size=64))
    F.cross_entropy(model.train()(torch.randn(4, 3, 64, 64)), torch.arange(4)).backward()
    assert adaptation.trainable
    return model


def test_distilled_deit_trains_both_heads_and_under_release_one():
    assert distilled("default").head_dist.weight.grad.abs().sum() > 0
    released = distilled("release")
    assert released.head_dist.weight.grad is None
    assert float(released.head_dist.weight.detach().std()) == pytest.approx(1 / (3 * 192) ** 0.5, rel=0.1)
    images = torch.randn(2, 3, 64, 64)
    tokens = released.eval().forward_features(images)
    both = (released.head(tokens[:, 0]) + released.head_dist(tokens[:, 1])) / 2
    assert torch.allclose(released(images), both, atol=1e-6)


def test_mae_weights_are_attended_without_sizes_and_others_with():
    mae = PYRA(merge_rate="high")
    model = vit_b("vit_base_patch16_224.mae")
    mae.prepare(model, TinyData())
    assert not model.blocks[0].attn.proportional
    model = vit_b()
    mae.prepare(model, TinyData())
    assert model.blocks[0].attn.proportional
