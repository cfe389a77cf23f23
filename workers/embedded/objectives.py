"""What the embedded backbones are pre-trained to tell of a drawn scene: many small heads at once.

Seven heads read the mean of the patch tokens, as downstream heads do; three read single tokens, whose dense
signal is what makes a small transformer take off within minutes.
"""

from __future__ import annotations

import math

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from workers.embedded.drawings import (
    MOST_OBJECTS,
    POSITION_BINS,
    SIZE_BINS,
    TEXTURE_CLASSES,
    TURN_BINS,
    Scenes,
)
from workers.embedded.drawings_shapes import SHAPE_CLASSES

_CENTRE_WEIGHT = 10.0  # about 1 in 25 patches holds an object's centre


class SceneObjective(nn.Module):
    """A backbone with its pre-training heads; calling it gives the loss of a batch of scenes."""

    def __init__(self, backbone: VisionTransformer) -> None:
        super().__init__()
        dim = backbone.embed_dim
        self.backbone = backbone
        self.pooled_heads = nn.ModuleDict(
            {
                "shape": nn.Linear(dim, SHAPE_CLASSES),
                "texture": nn.Linear(dim, TEXTURE_CLASSES),
                "count": nn.Linear(dim, MOST_OBJECTS),
                "column": nn.Linear(dim, POSITION_BINS),
                "row": nn.Linear(dim, POSITION_BINS),
                "size": nn.Linear(dim, SIZE_BINS),
                "turn": nn.Linear(dim, TURN_BINS),
            }
        )
        self.coverage_head = nn.Linear(dim, 1)
        self.centre_head = nn.Linear(dim, 1)
        self.token_shape_head = nn.Linear(dim, SHAPE_CLASSES)

    def forward(self, images: Tensor, scenes: Scenes) -> dict[str, Tensor]:
        """Losses by label, each about 1 at chance; `images` float [batch, 3, 32, 32], normalised."""
        tokens = self.backbone.forward_features(images)
        pooled = self.backbone.forward_head(tokens, pre_logits=True)
        losses = {name: self._pooled_loss(name, pooled, scenes) for name in self.pooled_heads}
        return losses | self._token_losses(tokens[:, self.backbone.num_prefix_tokens :], scenes)

    def _pooled_loss(self, name: str, pooled: Tensor, scenes: Scenes) -> Tensor:
        logits, target = self.pooled_heads[name](pooled).float(), getattr(scenes, name)
        if name not in ("texture", "count"):  # these describe the main object
            target = target.masked_fill(~scenes.main_is_clear, -100)
        return functional.cross_entropy(logits, target) / math.log(logits.shape[1])

    def _token_losses(self, tokens: Tensor, scenes: Scenes) -> dict[str, Tensor]:
        is_centre = scenes.token_shape >= 0
        coverage = self.coverage_head(tokens)[..., 0].float()
        centre = self.centre_head(tokens)[..., 0].float()
        shape = self.token_shape_head(tokens[is_centre]).float()
        return {
            "coverage": functional.binary_cross_entropy_with_logits(coverage, scenes.coverage) * 2,
            "centre": functional.binary_cross_entropy_with_logits(
                centre, is_centre.float(), pos_weight=torch.tensor(_CENTRE_WEIGHT)
            ),
            "token_shape": functional.cross_entropy(shape, scenes.token_shape[is_centre]) / math.log(SHAPE_CLASSES),
        }
