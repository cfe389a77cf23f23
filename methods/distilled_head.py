"""Distilled DeiT as PYRA's release trains it: the loss reads the class head alone, evaluation averages both heads.

The distillation head then never learns: it keeps the random values it was made with (PyTorch's default) and its
projection is averaged into every prediction. A quirk, kept apart and by name; both heads learn otherwise.
"""

from __future__ import annotations

import math

from timm.models.deit import VisionTransformerDistilled
from torch import Generator, Tensor, nn

from methods.surgery import swap_class


class ClassHeadTraining(VisionTransformerDistilled):
    """Logits of the class token in training, the mean of both heads in evaluation."""

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, N, D) -> (B, classes)."""
        if self.training and not pre_logits:
            return self.head(self.head_drop(x[:, 0]))
        averaged: Tensor = super().forward_head(x, pre_logits)
        return averaged


def train_class_head_only(model: VisionTransformerDistilled, generator: Generator) -> None:
    """Swap the class and give the distillation head PyTorch's default values, drawn from the generator."""
    swap_class(model, VisionTransformerDistilled, ClassHeadTraining)
    head = model.head_dist
    bound = 1 / math.sqrt(model.embed_dim)
    for parameter in head.parameters():
        drawn = nn.init.uniform_(parameter.new_empty(parameter.shape, device="cpu"), -bound, bound, generator=generator)
        parameter.data.copy_(drawn)
