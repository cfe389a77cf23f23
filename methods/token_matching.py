"""Bipartite soft matching: which tokens are merged into which (Bolya et al., ToMe, ICLR 2023, arXiv 2210.09461, §3).

Tokens at even positions (A) each propose to their most similar token at an odd position (B); the r best proposals are
taken. Prefix tokens (class, distillation, registers) are protected: they propose to nobody and nobody proposes to them.

    pairing = match(metric, r, prefix_tokens)        # no gradient
    x, sizes = merge(pairing, x, sizes)              # average weighted by how many patches a token stands for
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.api import MethodError

Modulate = Callable[[Tensor, Tensor], Tensor]
"""(source tokens, their targets), both (B, r, D) and size-weighted -> source tokens as they are merged."""


@dataclass(frozen=True)
class Pairing:
    """Positions per image; sources come in falling order of similarity, each once; targets may repeat.

    `kept`: (B, N - r) input positions in output order, `source`: (B, r) and `target`: (B, r) input positions,
    `landing`: (B, r) where the targets are in the output.
    """

    kept: Tensor
    source: Tensor
    target: Tensor
    landing: Tensor


@torch.no_grad()
def match(metric: Tensor, r: int, prefix_tokens: int) -> Pairing:
    """The r most similar pairs by cosine of `metric` (B, N, C), in fp32 whatever the autocast (bf16 would tie).

    Prefix tokens stay in front, in their order. Without any, kept tokens of A come in rising order of similarity, as
    in the release. Raises MethodError when fewer than r tokens can be merged.
    """
    tokens = metric.shape[1]
    if not 0 < r <= (tokens - prefix_tokens) // 2:
        raise MethodError(
            f"cannot merge {r} of {tokens} tokens ({prefix_tokens} protected): at most half of the patches can be "
            "merged in one block; plan with the image size that is run"
        )
    with _without_autocast(metric.device.type):
        unit = metric.float() if metric.dtype in (torch.bfloat16, torch.float16) else metric
        unit = unit / unit.norm(dim=-1, keepdim=True)
        scores = unit[:, ::2] @ unit[:, 1::2].transpose(-1, -2)
    even, odd = (prefix_tokens + 1) // 2, prefix_tokens // 2
    scores[:, :even] = -torch.inf
    scores[:, :, :odd] = -torch.inf
    best, partner = scores.max(dim=-1)
    order = best.argsort(dim=-1, descending=True)
    stay, source = order[:, r:], order[:, :r]
    if prefix_tokens:
        stay = stay.sort(dim=-1).values
    b = torch.arange(scores.shape[2], device=metric.device)
    target = partner.gather(-1, source)
    landing = torch.where(target < odd, 2 * target + 1, target + stay.shape[1])
    kept = _in_front(2 * stay, (2 * b + 1).expand(stay.shape[0], -1), prefix_tokens)
    return Pairing(kept, 2 * source, 2 * target + 1, landing)


def merge(pairing: Pairing, x: Tensor, sizes: Tensor | None, modulate: Modulate | None = None) -> tuple[Tensor, Tensor]:
    """Tokens (B, N, D) and sizes (B, N, 1; None = ones) -> (B, N - r, D) and (B, N - r, 1).

    A merged token is the size-weighted mean of its parts; sizes add up. `modulate` changes the sources first (PYRA),
    never the sizes.
    """
    if sizes is None:
        sizes, weighted = torch.ones_like(x[..., :1]), x
    else:
        weighted = x * sizes
    source = rows(weighted, pairing.source)
    if modulate is not None:
        source = modulate(source, rows(weighted, pairing.target))
    merged = add_rows(rows(weighted, pairing.kept), pairing.landing, source)
    new_sizes = add_rows(rows(sizes, pairing.kept), pairing.landing, rows(sizes, pairing.source))
    return merged / new_sizes, new_sizes


def rows(x: Tensor, positions: Tensor) -> Tensor:
    """(B, N, D) at (B, n) -> (B, n, D). Whole rows are copied: several times faster on a CPU than `gather`."""
    return x.flatten(0, 1).index_select(0, _flat(positions, x.shape[1])).view(x.shape[0], -1, x.shape[2])


def add_rows(x: Tensor, positions: Tensor, values: Tensor) -> Tensor:
    """x (B, N, D) plus `values` (B, n, D) at `positions` (B, n); a position may occur several times."""
    flat = x.flatten(0, 1).index_add(0, _flat(positions, x.shape[1]), values.to(x.dtype).flatten(0, 1))
    return flat.view_as(x)


def _without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Autocast switched off; the meta device, on which costs are counted, has none."""
    has_any = torch.amp.is_autocast_available(device_type)
    return torch.autocast(device_type, enabled=False) if has_any else nullcontext()


def _flat(positions: Tensor, tokens: int) -> Tensor:
    first = torch.arange(positions.shape[0], device=positions.device) * tokens
    return (positions + first[:, None]).flatten()


def _in_front(a: Tensor, b: Tensor, prefix_tokens: int) -> Tensor:
    """a and b (B, n) joined, prefix tokens, which alternate between the two, first."""
    odd = prefix_tokens // 2
    front = torch.stack((a[:, :odd], b[:, :odd]), dim=-1).flatten(1)
    return torch.cat((front, a[:, odd:], b[:, odd:]), dim=1)
