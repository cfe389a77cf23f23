"""Groups, weight decay, state and averages of the trained values."""

from __future__ import annotations

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from timm.utils import ModelEmaV2
from torch import nn

from methods.lora import LoRA
from methods.pyra import PYRA
from methods.stack import prepare_stack
from methods.testing import TinyData
from storage.records import Recipe
from workers.optimizers import Average, expected_state_bytes, make_optimizer, set_lr, state_bytes


def _parameters() -> dict[str, nn.Parameter]:
    return {"fc.weight": nn.Parameter(torch.ones(4, 3)), "fc.bias": nn.Parameter(torch.ones(4))}


def _step(optimizer: torch.optim.Optimizer, parameters: dict[str, nn.Parameter]) -> None:
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_weight_decay_pulls_matrices_and_leaves_biases(kind):
    parameters = _parameters()
    optimizer = make_optimizer(Recipe(optimizer=kind, lr=0.1, weight_decay=0.5), parameters, {}, frozenset())
    _step(optimizer, parameters)
    assert parameters["fc.weight"][0, 0].item() == pytest.approx(1 - 0.1 * 0.5)
    assert torch.equal(parameters["fc.bias"], torch.ones(4))


def test_what_the_model_keeps_out_of_decay_does_not_move_without_a_gradient():
    parameters = {"pos_embed": nn.Parameter(torch.ones(1, 5, 3))}
    optimizer = make_optimizer(Recipe(lr=0.1, weight_decay=0.5), parameters, {}, frozenset({"pos_embed"}))
    _step(optimizer, parameters)
    assert torch.equal(parameters["pos_embed"], torch.ones(1, 5, 3))


def test_each_parameter_has_its_own_factor_on_the_rate():
    optimizer = make_optimizer(Recipe(weight_decay=0.0), _parameters(), {"fc.bias": 10.0}, frozenset())
    set_lr(optimizer, 0.2)
    assert sorted(group["lr"] for group in optimizer.param_groups) == pytest.approx([0.2, 2.0])


@pytest.mark.parametrize(("kind", "tensors_per_value"), [("adamw", 2), ("adam", 2), ("sgd", 1)])
def test_the_state_weighs_what_it_must(kind, tensors_per_value):
    parameters = _parameters()
    optimizer = make_optimizer(Recipe(optimizer=kind), parameters, {}, frozenset())
    assert state_bytes(optimizer) == 0
    _step(optimizer, parameters)
    step_counters = 0 if kind == "sgd" else 4 * len(parameters)
    assert state_bytes(optimizer) == tensors_per_value * 4 * (12 + 4) + step_counters


@pytest.mark.parametrize(
    "recipe", [{"optimizer": "adamw"}, {"optimizer": "adam"}, {"optimizer": "sgd"}, {"momentum": 0.0}]
)
def test_the_state_can_be_told_before_it_is_made(recipe):
    recipe = Recipe(**{"optimizer": "sgd", **recipe})
    parameters = _parameters()
    optimizer = make_optimizer(recipe, parameters, {}, frozenset())
    _step(optimizer, parameters)
    assert expected_state_bytes(recipe, parameters.values()) == state_bytes(optimizer)


def test_the_average_follows_and_swapping_twice_changes_nothing():
    parameters = _parameters()
    average = Average(parameters, 0.9)
    with torch.no_grad():
        parameters["fc.bias"].fill_(2.0)
    average.update()
    average.swap()
    assert parameters["fc.bias"][0].item() == pytest.approx(0.9 * 1 + 0.1 * 2)
    assert torch.equal(parameters["fc.weight"], torch.ones(4, 3)), "what did not move has not drifted"
    average.swap()
    assert torch.equal(parameters["fc.bias"], torch.full((4,), 2.0))


def test_the_average_is_timm_s_of_the_trained_values_and_leaves_the_others_alone():
    """The releases of GPS and SSF average the whole model (ModelEmaV2); here only what is trained has an average."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    frozen = model[0].weight.detach().clone()
    model[0].weight.requires_grad_(False)
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    theirs, ours = ModelEmaV2(model, decay=0.9998), Average(trained, 0.9998)
    optimizer = torch.optim.Adam(trained.values(), lr=1e-2)
    for _ in range(50):
        optimizer.zero_grad()
        model(torch.randn(8, 6)).square().mean().backward()
        optimizer.step()
        theirs.update(model)
        ours.update()
    ours.swap()
    for name, value in trained.items():
        assert torch.allclose(value, theirs.module.get_parameter(name), rtol=0, atol=1e-6), name
    assert torch.equal(model[0].weight, frozen)


@pytest.mark.parametrize(
    ("lr_factor", "expected"),
    [
        (1.0, {(1.0, True): 49, (1.0, False): 25}),  # the release's: its option for PYRA's own rate reaches nothing
        (0.1, {(1.0, True): 25, (1.0, False): 1, (0.1, True): 24, (0.1, False): 24}),
    ],
)
def test_lora_and_pyra_on_twelve_blocks_make_the_groups_of_the_release(lr_factor, expected):
    model = VisionTransformer(img_size=32, patch_size=4, embed_dim=16, depth=12, num_heads=2, num_classes=5)
    pyra = PYRA(schedule=(4,) * 12, preset="release", lr_factor=lr_factor)
    adaptation = prepare_stack([LoRA(rank=2), pyra], model, TinyData())
    moving = {name: model.get_parameter(name) for name in (*adaptation.trainable, "head.weight", "head.bias")}
    optimizer = make_optimizer(Recipe(weight_decay=1e-4), moving, adaptation.lr_factor, frozenset())
    found = {(group["lr_factor"], group["weight_decay"] > 0): len(group["params"]) for group in optimizer.param_groups}
    assert found == expected
