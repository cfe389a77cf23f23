"""Merging with a modulator: as released (weighted by sizes) and as the paper writes it (plain mean)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from methods.token_blocks import Sizes
from methods.token_matching import match, merge


class ModulatedMerging(nn.Module):
    """Merges r pairs. `order`: None for the alternating split, else the (patches,) order that evaluation splits in.

    The random split shuffles the patch tokens and then splits them alternately; training draws a new order per step.
    """

    order: Tensor | None

    def __init__(self, r: int, prefix_tokens: int, modulator: nn.Module | None, order: Tensor | None = None) -> None:
        super().__init__()
        self.r, self.prefix_tokens, self.modulator = r, prefix_tokens, modulator
        self.register_buffer("order", order, persistent=False)

    def forward(self, x: Tensor, sizes: Sizes, metric: Tensor) -> tuple[Tensor, Sizes]:
        """(B, N, D), sizes (B, N, 1) or None, metric (B, N, C) -> (B, N - r, D) and sizes."""
        if self.order is not None:
            order = self._drawn(x)
            x, metric = x[:, order], metric[:, order]
            sizes = None if sizes is None else sizes[:, order]
        return self.merged(x, sizes, metric)

    def merged(self, x: Tensor, sizes: Sizes, metric: Tensor) -> tuple[Tensor, Sizes]:
        """The merge of tokens that lie in their final order."""
        return merge(match(metric, self.r, self.prefix_tokens), x, sizes, self.modulator)

    def _drawn(self, x: Tensor) -> Tensor:
        """(N,) positions: prefix tokens stay, patch tokens are shuffled."""
        patches = x.shape[1] - self.prefix_tokens
        shuffled = torch.randperm(patches, device=x.device) if self.training else self.order
        front = torch.arange(self.prefix_tokens, device=x.device)
        return torch.cat((front, shuffled + self.prefix_tokens)) if shuffled is not None else front


class MeanMerging(ModulatedMerging):
    """Every merged token is the plain mean of its parts, whatever those stand for; sizes are not kept."""

    def merged(self, x: Tensor, sizes: Sizes, metric: Tensor) -> tuple[Tensor, Sizes]:
        mean, _ = merge(match(metric, self.r, self.prefix_tokens), x, None, self.modulator)
        return mean, None
