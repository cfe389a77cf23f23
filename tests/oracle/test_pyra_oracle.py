"""ToMe and PYRA against numbers of the authors' released code (THU-MIG/PYRA, 3587ee6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional as F

from methods.api import Method
from methods.lora import LoRA
from methods.pyra import PYRA
from methods.pyra_modulators import ModulatorShape, PyraModulator
from methods.stack import prepare_stack
from methods.testing import TinyData
from methods.token_matching import Modulate, match, merge
from methods.tome import ToMe

HERE = Path(__file__).parent
SHARED = HERE.parents[1].parent / "shared" / "oracle"
STEPS = {"tome_merge_cls": 2, "pyra_merge_cls": 2, "pyra_merge_cls_dist": 3}


def oracle(name: str) -> Any:
    path = next((folder / f"{name}.npz" for folder in (HERE, SHARED) if (folder / f"{name}.npz").exists()), None)
    if path is None:
        pytest.skip(f"{name}.npz is not beside the repository (shared/oracle)")
    return np.load(path)


def modulator(w_r: Tensor, w_d: Tensor, weight: Tensor, bias: Tensor) -> PyraModulator:
    made = PyraModulator(ModulatorShape("pyra", len(w_r), w_d.shape[1]), torch.Generator()).to(w_r.dtype)
    with torch.no_grad():
        for parameter, value in zip(
            (made.w_r, made.w_d, made.norm.weight, made.norm.bias), (w_r, w_d, weight, bias), strict=True
        ):
            parameter.copy_(value)
    return made


@pytest.mark.parametrize("name", STEPS)
def test_tokens_merge_as_released_step_after_step(name):
    numbers = oracle(name)
    x, sizes = torch.tensor(numbers["x"]), None
    prefix = int(numbers["class_token"]) + int(numbers["distill_token"])
    for step, r in enumerate(numbers["r"][: STEPS[name]]):
        given = [torch.tensor(numbers[f"{part}{step}"]) for part in ("w_r", "w_d", "ln_weight", "ln_bias")]
        modulate: Modulate | None = None if name.startswith("tome") else modulator(*given)
        pairing = match(torch.tensor(numbers[f"metric{step}"]), int(r), prefix)
        x, sizes = merge(pairing, x, sizes, modulate)
        assert torch.allclose(x, torch.tensor(numbers[f"out{step}"]), atol=1e-5)
        assert torch.equal(sizes, torch.tensor(numbers[f"size{step}"]))


def test_the_golden_merge_of_pyra_in_double_precision():
    x = torch.sin(0.7 * torch.arange(132, dtype=torch.float64) + 0.3).view(2, 11, 6)
    metric = torch.sin(1.3 * torch.arange(110, dtype=torch.float64) + 0.1).view(2, 11, 5)
    sizes = torch.tensor([[1.0, 1, 2, 5, 3, 1, 1, 2, 7, 1, 2], [1, 1, 2, 4, 3, 1, 1, 2, 1, 1, 2]], dtype=torch.float64)
    given = ([[0.5], [-1], [0.25], [0.8]], [[0.3, -0.2, 0.1, 0.4, -0.5, 0.6]])
    affine = ([1, 0.9, 1.1, 1.2, 0.8, 1], [0, 0.1, -0.1, 0.05, 0, -0.05])
    weights = (torch.tensor(values, dtype=torch.float64) for values in given)
    made = modulator(*weights, *(torch.tensor(values) for values in affine))  # the run had its norm set in fp32
    with torch.no_grad():
        y, merged_sizes = merge(match(metric, 4, prefix_tokens=1), x, sizes[..., None], made)
    assert merged_sizes[..., 0].tolist() == [[1, 2, 1, 5, 4, 3, 10], [1, 1, 3, 7, 1, 2, 4]]
    assert float(y.abs().sum()) == pytest.approx(42.6502794575, abs=1e-9)
    assert float(y.sum()) == pytest.approx(-0.0154893732, abs=1e-9)
    last = [0.2691271827, -0.1075811193, -0.4574512764, -0.6274060672, -0.4753522103, -0.1000955273]
    assert y[0, -1].tolist() == pytest.approx(last, abs=1e-9)


def adapted_vit(numbers: Any, reduction: Method) -> tuple[VisionTransformer, dict[str, str]]:
    """The oracle's model with its weights, and our name -> the oracle's name of every trained tensor."""
    model = VisionTransformer(img_size=32, patch_size=4, embed_dim=48, depth=3, num_heads=4, num_classes=7)
    adaptation = prepare_stack([LoRA(rank=4), reduction], model, TinyData())
    theirs = {name: oracle_name(name) for name in dict(model.named_parameters())}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.tensor(numbers[f"param/{theirs[name]}"]))
    trained = (*adaptation.trainable, "head.weight", "head.bias")
    return model.eval(), {name: theirs[name] for name in trained}


def oracle_name(name: str) -> str:
    return name.replace("attn.qkv.lora_", "lora_").replace("reduction.modulator", "pyra")


@pytest.mark.parametrize(
    ("name", "reduction"),
    [
        ("tome_lora_vit", ToMe(schedule=(12, 8, 4))),
        ("pyra_vit", PYRA(schedule=(12, 8, 4), preset="release")),
    ],
)
@pytest.mark.parametrize("fused", [False, True])
def test_a_whole_model_has_the_logits_loss_and_gradients_of_the_release(name, reduction, fused):
    numbers = oracle(name)
    assert numbers["r"].tolist() == [12, 8, 4]
    model, trained = adapted_vit(numbers, reduction)
    for block in model.blocks:
        block.attn.fused_attn = fused
    logits = model(torch.tensor(numbers["images"]))
    loss = F.cross_entropy(logits, torch.tensor(numbers["labels"]))
    loss.backward()
    assert torch.allclose(logits, torch.tensor(numbers["logits"]), atol=1e-4)
    assert float(loss.detach()) == pytest.approx(float(numbers["loss"]), abs=1e-5)
    assert {f"grad/{theirs}" for theirs in trained.values()} == {key for key in numbers.files if "grad/" in key}
    for ours, theirs in trained.items():
        gradient = model.get_parameter(ours).grad
        assert torch.allclose(gradient, torch.tensor(numbers[f"grad/{theirs}"]), atol=1e-4), ours
