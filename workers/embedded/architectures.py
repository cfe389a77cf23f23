"""Builds the embedded architectures with timm's VisionTransformer.

With `global_pool="avg"` and `fc_norm=False`, timm 1.0 normalises every token (`norm`) and then averages the
patch tokens (the class token takes part in attention only); `fc_norm` is the identity. Pooling by the class
token alone costs about 14 points on counting.
"""

from __future__ import annotations

from timm.models.vision_transformer import VisionTransformer

from workers.embedded.catalogue import EMBEDDED


def build_embedded(name: str, num_classes: int) -> VisionTransformer:
    """A randomly initialised model for images [batch, 3, 32, 32]; `num_classes=0` leaves out the head.

    Logits are [batch, num_classes]; without a head the pooled features [batch, dim] are returned.
    """
    try:
        architecture = EMBEDDED[name]
    except KeyError:
        raise ValueError(f"unknown embedded architecture {name!r}; known: {', '.join(EMBEDDED)}") from None
    return VisionTransformer(
        img_size=architecture.image_size,
        patch_size=architecture.patch_size,
        embed_dim=architecture.dim,
        depth=architecture.depth,
        num_heads=architecture.heads,
        mlp_ratio=architecture.mlp_ratio,
        num_classes=num_classes,
        global_pool="avg",
        class_token=True,
        fc_norm=False,
    )
