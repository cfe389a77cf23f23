"""Random token dropping: the control for token merging, with the same schedules.

At the place where ToMe merges r pairs, r patch tokens are dropped, chosen without looking at them; prefix tokens stay.
Training draws anew for every image and step; evaluation drops the same positions of every image, drawn once from the
number of the block, so that a prediction depends on nothing but its image. No sizes, so no proportional attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from methods.api import Adaptation, BackboneFacts, Domain, Need, Scalar, TrainingData
from methods.surgery import freeze
from methods.token_blocks import Sizes, facts_of_model, fixed_order, per_block, reduce_tokens, settled
from methods.token_matching import rows
from methods.token_schedule import Shape, settle, tokens_after


class Dropping(nn.Module):
    """Drops r of the patch tokens that reach it. `order`: (patches,) the patches that evaluation keeps come first."""

    order: Tensor

    def __init__(self, r: int, prefix_tokens: int, order: Tensor) -> None:
        super().__init__()
        self.r, self.prefix_tokens = r, prefix_tokens
        self.register_buffer("order", order, persistent=False)

    def forward(self, x: Tensor, sizes: Sizes, metric: Tensor) -> tuple[Tensor, Sizes]:
        """(B, N, D) -> (B, N - r, D); kept tokens stay in their order."""
        patches = x.shape[1] - self.prefix_tokens
        order = torch.rand(x.shape[0], patches, device=x.device).argsort(dim=1) if self.training else self.order[None]
        kept = order[:, : patches - self.r].sort(dim=1).values.expand(x.shape[0], -1)
        return torch.cat((x[:, : self.prefix_tokens], rows(x, kept + self.prefix_tokens)), dim=1), sizes


@dataclass(frozen=True)
class RandomDrop:
    """Drops r random patch tokens in each block."""

    name: ClassVar[str] = "random_drop"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "drops random tokens in every block, the control for merging; trains nothing"
    paper: ClassVar[str] = "a control, no paper"
    seams: ClassVar[frozenset[str]] = frozenset({"tokens", "block", "attention"})
    families: ClassVar[tuple[str, ...]] = ("vit",)
    space: ClassVar[Mapping[str, Domain]] = {"mac_ratio": Domain("uniform", (0.25, 0.95))}
    recipe: ClassVar[Mapping[str, Scalar]] = {}
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {
        "mac_ratio": (0.05, 1),
        "speed_up": (1, 20),
        "schedule": (0, 10_000),
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"merge_rate": ("low", "high")}
    needs: ClassVar[tuple[Need, ...]] = ()
    settled_by: ClassVar[str] = "methods.token_schedule:settle"

    merge_rate: str | None = None
    schedule: tuple[int, ...] = ()
    mac_ratio: float | None = None
    speed_up: float | None = None

    def refuses(self, facts: BackboneFacts) -> str | None:
        return None

    def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
        facts = facts_of_model(model)
        own = settled(self, settle, model)
        freeze(model)
        before = (facts.tokens, *tokens_after(own.schedule, Shape.of(facts)))

        def make(number: int, r: int) -> nn.Module:
            return Dropping(r, facts.prefix_tokens, fixed_order(before[number] - facts.prefix_tokens, number))

        reduce_tokens(model, list(per_block(model, own.schedule, make)), proportional=False)
        return Adaptation()

    def merge(self, model: nn.Module) -> nn.Module:
        """Nothing can be folded: fewer tokens is the function."""
        return model
