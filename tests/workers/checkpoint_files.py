"""Miniature networks of the field's architectures, and their weights in the layouts of the releases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from storage.records import BackboneRef
from workers.pretrained import load_weights

VIT, SWIN, CONVNEXT = "vit_tiny_patch16_224.augreg_in21k", "swin_tiny_patch4_window7_224", "convnext_tiny"
MAE, DISTILLED, DEIT3 = "vit_base_patch16_224.mae", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224"
_SMALL_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
_SMALL = {
    SWIN: {"img_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 12, "depths": (1, 1), "num_heads": (2, 2)},
    CONVNEXT: {"depths": (1, 1, 1, 1), "dims": (4, 8, 8, 8)},
}


def small(name: str, classes: int = 0, **changes: Any) -> Any:
    """A miniature of the architecture, every value drawn, in evaluation mode."""
    model = timm.create_model(name, num_classes=classes, **{**_SMALL.get(name, _SMALL_VIT), **changes}).eval()
    draws = torch.Generator().manual_seed(classes + 1)
    with torch.no_grad():
        for value in model.parameters():
            value.copy_(torch.randn(value.shape, generator=draws) * 0.2)
    return model


def loaded(name: str, path: Path, **changes: Any) -> nn.Module:
    model: nn.Module = small(name, **changes)
    load_weights(model, BackboneRef(name, "a" * 64), path)
    return model


@torch.no_grad()
def assert_same_function(model: nn.Module, source: Any) -> None:
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    source.reset_classifier(0)
    assert torch.equal(model(images), source(images))


def google_arrays(state: Mapping[str, Tensor], heads: int = 2) -> dict[str, np.ndarray]:
    """The layout of `ViT-B_16.npz`, from timm's names."""
    arrays = {"cls": state["cls_token"], "embedding/bias": state["patch_embed.proj.bias"]}
    arrays["embedding/kernel"] = state["patch_embed.proj.weight"].permute(2, 3, 1, 0)
    arrays["Transformer/posembed_input/pos_embedding"] = state["pos_embed"]
    arrays |= _norm("Transformer/encoder_norm", state, "norm")
    dim = state["cls_token"].shape[-1]
    for block in sorted({key.split(".")[1] for key in state if key.startswith("blocks.")}):
        here, there = f"Transformer/encoderblock_{block}", f"blocks.{block}"
        attention = f"{here}/MultiHeadDotProductAttention_1"
        arrays |= _norm(f"{here}/LayerNorm_0", state, f"{there}.norm1")
        arrays |= _norm(f"{here}/LayerNorm_2", state, f"{there}.norm2")
        weights, biases = (state[f"{there}.attn.qkv.{kind}"].chunk(3) for kind in ("weight", "bias"))
        for part, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            arrays[f"{attention}/{part}/kernel"] = weight.T.reshape(dim, heads, -1)
            arrays[f"{attention}/{part}/bias"] = bias.reshape(heads, -1)
        arrays[f"{attention}/out/kernel"] = state[f"{there}.attn.proj.weight"].T.reshape(heads, -1, dim)
        arrays[f"{attention}/out/bias"] = state[f"{there}.attn.proj.bias"]
        for layer in (0, 1):
            dense, timms = f"{here}/MlpBlock_3/Dense_{layer}", f"{there}.mlp.fc{layer + 1}"
            arrays |= {f"{dense}/kernel": state[f"{timms}.weight"].T, f"{dense}/bias": state[f"{timms}.bias"]}
    pre_training = {"head/kernel": torch.ones(dim, 9), "head/bias": torch.ones(9)}
    pre_training |= {"pre_logits/kernel": torch.ones(dim, dim), "pre_logits/bias": torch.ones(dim)}
    return {name: value.numpy() for name, value in (arrays | pre_training).items()}


def _norm(google: str, state: Mapping[str, Tensor], timms: str) -> dict[str, Tensor]:
    return {f"{google}/scale": state[f"{timms}.weight"], f"{google}/bias": state[f"{timms}.bias"]}


def swin_release(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Microsoft's names: a stage ends with its downsampling, and tables that follow from the architecture are kept."""
    renamed = {
        re.sub(r"layers\.(\d+)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", key): value
        for key, value in state.items()
    }
    kept = {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(16, 16, dtype=torch.int64)}
    return {key.replace("head.fc.", "head."): value for key, value in renamed.items()} | kept


def convnext_release(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Meta's names."""
    rules = (
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d+)\.downsample\.", r"downsample_layers.\1."),
        (r"\.blocks\.", "."),
        ("conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"^head\.norm", "norm"),
        (r"^head\.fc", "head"),
    )
    renamed = dict(state)
    for pattern, new in rules:
        renamed = {re.sub(pattern, new, key): value for key, value in renamed.items()}
    return renamed
