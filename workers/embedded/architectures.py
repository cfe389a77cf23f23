"""Builds the embedded architectures with timm's VisionTransformer.

With `global_pool="avg"` and `fc_norm=False`, timm 1.0 normalises every token (`norm`) and then averages the
patch tokens (the class token takes part in attention only); `fc_norm` is the identity. Pooling by the class
token alone costs about 14 points on counting.
"""

from __future__ import annotations

from typing import Any

from timm.models.vision_transformer import VisionTransformer

from workers.embedded.catalogue import EMBEDDED


def build_embedded(name: str, num_classes: int) -> VisionTransformer:
    """A randomly initialised model for images [batch, 3, 32, 32]; `num_classes=0` leaves out the head.

    Logits are [batch, num_classes]; without a head the pooled features [batch, dim] are returned.
    """
    return VisionTransformer(**embedded_arguments(name), num_classes=num_classes)


def embedded_arguments(name: str) -> dict[str, Any]:
    """What makes timm's VisionTransformer this architecture; the number of classes is left open."""
    try:
        architecture = EMBEDDED[name]
    except KeyError:
        raise ValueError(f"unknown embedded architecture {name!r}; known: {', '.join(EMBEDDED)}") from None
    return {
        "img_size": architecture.image_size,
        "patch_size": architecture.patch_size,
        "embed_dim": architecture.dim,
        "depth": architecture.depth,
        "num_heads": architecture.heads,
        "mlp_ratio": architecture.mlp_ratio,
        "global_pool": "avg",
        "class_token": True,
        "fc_norm": False,
    }
