"""ToMe: merge similar tokens between attention and MLP (Bolya et al., ICLR 2023, arXiv 2210.09461).

Nothing is trained and nothing is added; stack it with a PEFT method (`[{lora: {}}, {tome: {merge_rate: high}}]`). Per
block the r most similar pairs of tokens, by cosine of the keys' mean over the heads, become one token each: their
mean, weighted by how many patches they stand for. Attention counts a merged token for its patches
(`prop_attn`; the release leaves that out for MAE, and so does the default here).

How much is merged is said in one of five ways: `merge_rate` low or high (PYRA's lists), `r` constant (with
`inflection` -1: falling linearly from 2r to 0, the paper's decreasing schedule), `schedule` (one number per block),
`mac_ratio` or `speed_up` (of the blocks, in theory). A job carries the resolved list.

Deviation from the release: scores are fp32 under bf16; registers are protected too. Merging in the last block changes
nothing but the cost of its MLP where the head reads the class token alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from methods.api import Adaptation, BackboneFacts, Domain, Need, Scalar, TrainingData
from methods.surgery import freeze
from methods.token_blocks import Sizes, facts_of_model, per_block, reduce_tokens, settled
from methods.token_matching import match, merge
from methods.tome_settings import settle


class Merging(nn.Module):
    """Merges r pairs of tokens."""

    def __init__(self, r: int, prefix_tokens: int) -> None:
        super().__init__()
        self.r, self.prefix_tokens = r, prefix_tokens

    def forward(self, x: Tensor, sizes: Sizes, metric: Tensor) -> tuple[Tensor, Sizes]:
        """(B, N, D), sizes (B, N, 1) or None, metric (B, N, C) -> (B, N - r, D), (B, N - r, 1)."""
        return merge(match(metric, self.r, self.prefix_tokens), x, sizes)


@dataclass(frozen=True)
class ToMe:
    """Merges the r most similar pairs of tokens in each block."""

    name: ClassVar[str] = "tome"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "merges similar tokens in every block; trains nothing"
    paper: ClassVar[str] = "arXiv 2210.09461"
    seams: ClassVar[frozenset[str]] = frozenset({"tokens", "block", "attention"})
    families: ClassVar[tuple[str, ...]] = ("vit",)
    space: ClassVar[Mapping[str, Domain]] = {"mac_ratio": Domain("uniform", (0.25, 0.95))}
    recipe: ClassVar[Mapping[str, Scalar]] = {}
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {
        "r": (0, 10_000),
        "inflection": (-1, 1),
        "mac_ratio": (0.05, 1),
        "speed_up": (1, 20),
        "schedule": (0, 10_000),
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"merge_rate": ("low", "high")}
    needs: ClassVar[tuple[Need, ...]] = ()
    settled_by: ClassVar[str] = "methods.tome_settings:settle"

    merge_rate: str | None = None
    r: int | None = None
    inflection: float = 0.0
    schedule: tuple[int, ...] = ()
    mac_ratio: float | None = None
    speed_up: float | None = None
    prop_attn: bool | None = None

    def refuses(self, facts: BackboneFacts) -> str | None:
        return None

    def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
        facts = facts_of_model(model)
        own = settled(self, settle, model)
        freeze(model)
        made = per_block(model, own.schedule, lambda number, r: Merging(r, facts.prefix_tokens))
        reduce_tokens(model, list(made), proportional=bool(own.prop_attn))
        return Adaptation()

    def merge(self, model: nn.Module) -> nn.Module:
        """Nothing can be folded: fewer tokens is the function."""
        return model
