"""Several methods on one model, and the surgery that they are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import timm
import torch
from torch import Tensor, nn

from methods.api import Adaptation, Domain, MethodError, Need, RefusedStack, Scalar, TrainingData
from methods.full import Full
from methods.gps import GPS
from methods.linear import Linear
from methods.lora import LoRA, LoRALinear
from methods.stack import merge_stack, prepare_stack
from methods.surgery import freeze, head_parameters, swap_class, transformer_blocks
from methods.testing import TinyData, outputs, tiny_vit


class Boxed(nn.Module):
    """A block in a box: what is inside gets another name."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        inside: Tensor = self.inside(x)
        return self.gain * inside


@dataclass(frozen=True)
class Box:
    """Wraps the last block, which renames its parameters; its hooks count and its loss is one."""

    name: ClassVar[str] = "box"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "wraps a block"
    paper: ClassVar[str] = ""
    seams: ClassVar[frozenset[str]] = frozenset({"block"})
    families: ClassVar[tuple[str, ...]] = ("vit",)
    space: ClassVar[Mapping[str, Domain]] = {}
    recipe: ClassVar[Mapping[str, Scalar]] = {}
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    needs: ClassVar[tuple[Need, ...]] = ()

    def refuses(self, facts: object) -> str | None:
        return None

    def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
        freeze(model)
        model.blocks[1] = Boxed(model.blocks[1])
        return Adaptation(
            trainable=("blocks.1.gain",),
            lr_factor={"blocks.1.gain": 0.1},
            carried={"box": {"one": torch.ones(1)}},
            extra_loss=lambda: torch.ones(()),
        )

    def merge(self, model: nn.Module) -> nn.Module:
        box = model.blocks[1]
        with torch.no_grad():
            box.inside.ls2.gamma += 0
        model.blocks[1] = box.inside
        return model


def test_names_are_resolved_again_after_a_later_method_has_renamed_them():
    model = tiny_vit()
    adaptation = prepare_stack([LoRA(), Box()], model, TinyData())
    assert set(adaptation.trainable) == {
        "blocks.0.attn.qkv.lora_a",
        "blocks.0.attn.qkv.lora_b",
        "blocks.1.gain",
        "blocks.1.inside.attn.qkv.lora_a",
        "blocks.1.inside.attn.qkv.lora_b",
    }
    assert adaptation.lr_factor == {"blocks.1.gain": 0.1}
    asking = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert asking == {*adaptation.trainable, "head.weight", "head.bias"}


def test_merging_goes_from_right_to_left():
    model = tiny_vit()
    stack = [LoRA(), Box()]
    prepare_stack(stack, model, TinyData())
    assert merge_stack(stack, model) is model
    assert set(model.state_dict()) == set(tiny_vit().state_dict())
    assert torch.equal(outputs(model), outputs(tiny_vit()))


def test_two_owners_of_one_seam_are_refused_before_the_model_is_touched():
    model = tiny_vit()
    with pytest.raises(RefusedStack, match="both take hold of the seam 'linear'"):
        prepare_stack([LoRA(), GPS(criterion="magnitude")], model, TinyData())
    assert not any(isinstance(module, LoRALinear) for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_extra_losses_add_up_and_every_hook_is_called():
    steps: list[tuple[str, int]] = []

    @dataclass(frozen=True)
    class Second(Box):
        name: ClassVar[str] = "second"
        seams: ClassVar[frozenset[str]] = frozenset({"mlp"})

        def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
            return Adaptation(
                extra_loss=lambda: torch.tensor(2.0), after_step=lambda step: steps.append(("second", step))
            )

    @dataclass(frozen=True)
    class First(Box):
        name: ClassVar[str] = "first"

        def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
            return replace(super().prepare(model, data), after_step=lambda step: steps.append(("first", step)))

    adaptation = prepare_stack([First(), Second()], tiny_vit(), TinyData())
    assert adaptation.extra_loss is not None
    assert adaptation.extra_loss().item() == 3.0
    assert adaptation.after_step is not None
    adaptation.after_step(4)
    assert steps == [("first", 4), ("second", 4)]
    assert set(adaptation.carried) == {"box"}


def test_a_stack_with_full_keeps_everything_in_motion_whatever_comes_after_it():
    model = tiny_vit()
    adaptation = prepare_stack([Full(), LoRA()], model, TinyData())
    assert {*adaptation.trainable, "head.weight", "head.bias"} == {name for name, _ in model.named_parameters()}


def test_both_heads_of_a_distilled_model_belong_to_the_trainer():
    with torch.device("meta"):
        model = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=4)
    prepare_stack([Linear()], model, TinyData())
    asking = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert asking == ["head.weight", "head.bias", "head_dist.weight", "head_dist.bias"]


def test_freezing_leaves_the_head_as_its_owner_left_it():
    model = tiny_vit()
    for parameter in head_parameters(model):
        parameter.requires_grad_(False)
    freeze(model)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_model_that_does_not_name_its_head_is_an_error():
    with pytest.raises(MethodError, match="get_classifier"):
        freeze(nn.Linear(2, 2))


def test_a_class_is_swapped_only_for_the_class_that_is_expected():
    with pytest.raises(MethodError, match="cannot turn a Conv2d into a LoRALinear: expected exactly Linear"):
        swap_class(nn.Conv2d(1, 1, 1), nn.Linear, LoRALinear)


@pytest.mark.parametrize(
    ("name", "depth"), [("vit_tiny_patch16_224", 12), ("swin_tiny_patch4_window7_224", 12), ("convnext_tiny", 18)]
)
def test_blocks_are_found_in_order_of_depth(name: str, depth: int):
    with torch.device("meta"):
        model = timm.create_model(name)
    assert len(transformer_blocks(model)) == depth


def test_a_model_without_blocks_is_an_error():
    with pytest.raises(MethodError, match="expected a ViT, Swin or ConvNeXt"):
        transformer_blocks(nn.Linear(2, 2))
