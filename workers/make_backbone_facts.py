"""Measures backbones and writes workers/backbone_facts.json: `python -m workers.make_backbone_facts`."""

from __future__ import annotations

import json
from typing import Any

import timm
import torch
from timm.models import ConvNeXt, SwinTransformer, VisionTransformer, VisionTransformerSAM, get_deprecated_models
from torch import nn

from methods.api import BackboneFacts
from storage.records.whole import written_whole
from workers.backbone_facts import FACTS_FILE, RAW_PIXELS, KnownBackbone
from workers.backbones import bare_architecture, unfused_attention
from workers.embedded.catalogue import EMBEDDED
from workers.macs import macs_of
from workers.raw_pixels import DEFAULT_SIZE

SHIPPED = (
    RAW_PIXELS,
    *EMBEDDED,
    *(f"vit_{size}_patch16_224" for size in ("tiny", "small", "base", "large")),
    *(f"vit_{size}_patch16_224.augreg_in21k" for size in ("tiny", "small", "base", "large")),
    *(f"vit_{size}_patch16_224.augreg_in21k_ft_in1k" for size in ("tiny", "small", "base", "large")),
    *(f"vit_{size}_patch16_224.orig_in21k" for size in ("base", "large")),
    *(f"vit_{size}_patch16_224.mae" for size in ("base", "large")),
    *(f"deit_{size}_patch16_224" for size in ("tiny", "small", "base")),
    *(f"deit_{size}_distilled_patch16_224" for size in ("tiny", "small", "base")),
    *(f"swin_{size}_patch4_window7_224" for size in ("tiny", "small", "base")),
    "swin_base_patch4_window7_224.ms_in22k",
    *(f"convnext_{size}" for size in ("tiny", "small", "base")),
    "convnext_base.fb_in22k",
    "samvit_base_patch16.sa1b",
)


def present_name(name: str) -> str | None:
    """The name that timm has given to the backbone since, where `name` is an old one; None where it is not."""
    found: str | None = get_deprecated_models().get(name)
    return found


def is_buildable(name: str) -> bool:
    """Whether a backbone of that name can be built here; a tag after the dot must be one that timm knows."""
    if name == RAW_PIXELS or name in EMBEDDED:
        return True
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        return False
    try:
        return not tag or timm.get_pretrained_cfg(name, allow_unregistered=False) is not None
    except RuntimeError:  # timm's word for a tag that it does not know
        return False


def measure(name: str) -> KnownBackbone:
    """Facts of one backbone; the model is built on the meta device, without memory for its weights."""
    if name == RAW_PIXELS:
        return KnownBackbone(_pixel_facts())
    with torch.device("meta"):
        model = bare_architecture(name)
    unfused_attention(model)
    look, hub_repository = _look(name, model)
    facts = BackboneFacts(
        name=name,
        params=sum(parameter.numel() for parameter in model.parameters()),
        macs=macs_of(model, look["image_size"]),
        features=_features(model, look["image_size"]),
        **look,
        **_sizes(model),
    )
    return KnownBackbone(facts, hub_repository)


def _pixel_facts() -> BackboneFacts:
    values = 3 * DEFAULT_SIZE**2
    return BackboneFacts(
        name=RAW_PIXELS,
        family="pixels",
        image_size=DEFAULT_SIZE,
        patch_size=DEFAULT_SIZE,
        depth=0,
        dim=values,
        heads=0,
        tokens=1,
        prefix_tokens=0,
        features=values,
        params=0,
        macs=0,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def _look(name: str, model: Any) -> tuple[dict[str, Any], str | None]:
    """Input size, mean, std, interpolation and crop share of the checkpoint, and its hub repository."""
    if name in EMBEDDED:
        made = EMBEDDED[name]
        return {"image_size": made.image_size, "mean": made.mean, "std": made.std}, None
    card = model.pretrained_cfg
    look = {
        "image_size": card["input_size"][-1],
        "mean": tuple(card["mean"]),
        "std": tuple(card["std"]),
        "interpolation": card["interpolation"],
        "crop_pct": card["crop_pct"],
    }
    return look, card.get("hf_hub_id")


def _features(model: Any, image_size: int) -> int:
    with torch.no_grad():
        return int(model.eval()(torch.zeros(1, 3, image_size, image_size, device="meta")).shape[-1])


def _vit_sizes(model: Any) -> dict[str, Any]:
    return {
        "family": "vit",
        "patch_size": model.patch_embed.patch_size[0],
        "depth": len(model.blocks),
        "dim": model.embed_dim,
        "heads": model.blocks[0].attn.num_heads,
        "tokens": model.patch_embed.num_patches + model.num_prefix_tokens,
        "prefix_tokens": model.num_prefix_tokens,
    }


def _swin_sizes(model: Any) -> dict[str, Any]:
    """Of hierarchical backbones, dim, heads and tokens are those of the first stage; depth counts all blocks."""
    return {
        "family": "swin",
        "patch_size": model.patch_embed.patch_size[0],
        "depth": sum(len(stage.blocks) for stage in model.layers),
        "dim": model.embed_dim,
        "heads": model.layers[0].blocks[0].attn.num_heads,
        "tokens": model.patch_embed.num_patches,
        "prefix_tokens": 0,
    }


def _convnext_sizes(model: Any) -> dict[str, Any]:
    patch_size = model.stem[0].stride[0]
    blocks = [block for stage in model.stages for block in stage.blocks]
    return {
        "family": "convnext",
        "patch_size": patch_size,
        "depth": len(blocks),
        "dim": blocks[0].conv_dw.out_channels,
        "heads": 0,
        "tokens": (model.pretrained_cfg["input_size"][-1] // patch_size) ** 2,
        "prefix_tokens": 0,
    }


def _sam_sizes(model: Any) -> dict[str, Any]:
    """SAM's image encoder: no prefix tokens, and features that are a map."""
    return {
        "family": "sam",
        "patch_size": model.patch_embed.patch_size[0],
        "depth": len(model.blocks),
        "dim": model.embed_dim,
        "heads": model.blocks[0].attn.num_heads,
        "tokens": model.patch_embed.num_patches,
        "prefix_tokens": 0,
    }


def _other_sizes(model: Any) -> dict[str, Any]:
    """No method of ours adapts such a family unless it says "*"; the sizes are unknown."""
    family = type(model).__module__.rpartition(".")[2]
    return {"family": family, "patch_size": 1, "depth": 0, "dim": 0, "heads": 0, "tokens": 0, "prefix_tokens": 0}


def _sizes(model: nn.Module) -> dict[str, Any]:
    if isinstance(model, VisionTransformer) and hasattr(model.blocks[0], "attn"):  # others are parallel blocks
        return _vit_sizes(model)
    if isinstance(model, VisionTransformerSAM):
        return _sam_sizes(model)
    if isinstance(model, SwinTransformer):
        return _swin_sizes(model)
    return _convnext_sizes(model) if isinstance(model, ConvNeXt) else _other_sizes(model)


def main() -> None:
    records = {name: measure(name).to_json() for name in SHIPPED}
    with written_whole(FACTS_FILE) as temporary:
        temporary.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
