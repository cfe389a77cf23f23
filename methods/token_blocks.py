"""timm's ViT with a token reduction inside each block: what ToMe, random dropping and PYRA share.

    x, keys = Attention(LN1(x), bias = log sizes)          # proportional attention: a token counts for its patches
    x = x + …
    x, sizes = reduction(x, sizes, keys)                   # fewer tokens from here on
    x = x + MLP(LN2(x))

Class swaps only, so every parameter keeps its name. The forwards of `Block` and `Attention` are copies of timm's
(1.0.31) with the reduction put in; a test compares them with timm's on models without reduction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from timm.layers.attention import Attention
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from methods.api import BackboneFacts, MethodError
from methods.facts import Value
from methods.surgery import swap_class

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

AnyMethod = TypeVar("AnyMethod", bound="DataclassInstance")
Settle = Callable[[Mapping[str, Value], BackboneFacts], dict[str, Value]]

Sizes = Tensor | None
"""(B, N, 1): how many patches each token stands for; None while each stands for itself."""


class KeyedAttention(Attention):
    """timm's attention that also gives its keys and takes the sizes of tokens."""

    proportional: bool

    def forward(  # type: ignore[override]
        self, x: Tensor, sizes: Sizes = None
    ) -> tuple[Tensor, Tensor]:
        """(B, N, D) -> (B, N, D) and the keys' mean over the heads (B, N, head width)."""
        gate = getattr(self, "gate", None)
        gated = gate(x).sigmoid() if gate is not None else None
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        q, k = self.q_norm(q), self.k_norm(k)
        bias = None if sizes is None or not self.proportional else sizes.log()[:, None, None, :, 0]
        if self.fused_attn:
            dropout = self.attn_drop.p if self.training else 0.0
            x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        else:
            logits = (q * self.scale) @ k.transpose(-2, -1)
            weights = (logits if bias is None else logits + bias).softmax(dim=-1)
            x = self.attn_drop(weights) @ v
        x = self.norm(x.transpose(1, 2).flatten(2))
        x = x if gated is None else x * gated
        return self.proj_drop(self.proj(x)), k.detach().mean(dim=1)


class ReducingBlock(Block):
    """A block that hands on fewer tokens: reduction after attention, or before it (`reduces_first`)."""

    reduction: nn.Module | None  # (x, sizes, metric) -> (x, sizes)
    reduces_first: bool

    def forward(  # type: ignore[override]
        self, x: Tensor, sizes: Sizes = None
    ) -> tuple[Tensor, Sizes]:
        """(B, N, D) -> (B, N - r, D) and sizes. The metric is the keys, or the tokens when reducing first."""
        if self.reduces_first and self.reduction is not None:
            x, sizes = self.reduction(x, sizes, x.detach())
        attended, keys = self.attn(self.norm1(x), sizes)
        x = x + self.drop_path1(self.ls1(attended))
        if self.reduction is not None and not self.reduces_first:
            x, sizes = self.reduction(x, sizes, keys)
        x = x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))
        return x, sizes


class ReducingBlocks(nn.Sequential):
    """The blocks in turn; sizes travel with the tokens. `last_sizes` is left for a pooling that weighs."""

    keeps_sizes: bool
    last_sizes: Sizes

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N - sum of r, D)."""
        sizes: Sizes = None
        for block in self:
            x, sizes = block(x, sizes)
        self.last_sizes = sizes if self.keeps_sizes else None
        return x


class WeighedPoolViT(VisionTransformer):
    """A ViT whose average pooling gives a merged token the weight of its patches (ToMe's rule for MAE)."""

    def pool(self, x: Tensor, pool_type: str | None = None) -> Tensor:
        """(B, N, D) -> (B, D)."""
        blocks: Any = self.blocks
        sizes, blocks.last_sizes = blocks.last_sizes, None
        if sizes is None or pool_type not in (None, "avg"):
            return super().pool(x, pool_type)
        if not self.pool_include_prefix:
            x, sizes = x[:, self.num_prefix_tokens :], sizes[:, self.num_prefix_tokens :]
        return (x * sizes).sum(dim=1) / sizes.sum(dim=1)


def reduce_tokens(
    model: nn.Module,
    reductions: Sequence[nn.Module | None],
    *,
    reduces_first: bool = False,
    proportional: bool = True,
) -> None:
    """Put one reduction (or None) into each block, in place. Raises MethodError when this is no plain ViT of timm."""
    blocks = vit_blocks(model)
    for block, reduction in zip(blocks, reductions, strict=True):
        part: Any = block
        swap_class(block, Block, ReducingBlock)
        swap_class(part.attn, Attention, KeyedAttention)
        part.reduction, part.reduces_first, part.attn.proportional = reduction, reduces_first, proportional
    whole: Any = model
    swap_class(whole.blocks, nn.Sequential, ReducingBlocks)
    whole.blocks.last_sizes = None
    whole.blocks.keeps_sizes = whole.global_pool == "avg"
    if whole.blocks.keeps_sizes:
        swap_class(model, VisionTransformer, WeighedPoolViT)


def vit_blocks(model: nn.Module) -> list[nn.Module]:
    """The blocks of a plain or distilled ViT. Raises MethodError for anything else, and for recomputed activations."""
    if not isinstance(model, VisionTransformer | VisionTransformerDistilled):
        raise MethodError(f"tokens of a {type(model).__name__} cannot be reduced; expected a VisionTransformer of timm")
    if model.grad_checkpointing:
        raise MethodError("token reduction hands sizes from block to block; switch set_grad_checkpointing off")
    return list(model.blocks)


def facts_of_model(model: nn.Module) -> BackboneFacts:
    """What a schedule must know, read off a built ViT (its costs and colours are not, and are zero)."""
    depth = len(vit_blocks(model))
    vit: Any = model
    height, width = vit.patch_embed.grid_size
    card = getattr(vit, "pretrained_cfg", None) or {}
    return BackboneFacts(
        name=".".join(filter(None, (card.get("architecture"), card.get("tag")))) or type(model).__name__,
        family="vit",
        image_size=vit.patch_embed.img_size[0],
        patch_size=vit.patch_embed.patch_size[0],
        depth=depth,
        dim=vit.embed_dim,
        heads=vit.blocks[0].attn.num_heads,
        tokens=height * width + vit.num_prefix_tokens,
        prefix_tokens=vit.num_prefix_tokens,
        features=vit.num_features,
        params=0,
        macs=0,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )


def settled(method: AnyMethod, settle: Settle, model: nn.Module) -> AnyMethod:
    """The method with what depends on the model filled in; a job's method is settled already. Raises MethodError."""
    values: dict[str, Any] = settle(asdict(method), facts_of_model(model))
    return replace(method, **values)


def reads_patches(model: nn.Module) -> bool:
    """Whether the head reads patch tokens: then what happens to them in the last block matters."""
    return getattr(model, "global_pool", "token") != "token"


def per_block(
    model: nn.Module, schedule: Sequence[int], make: Callable[[int, int], nn.Module]
) -> Iterator[nn.Module | None]:
    """`make(block number, r)`, on the model's device and in its mode, for every block that removes something."""
    device = next(model.parameters()).device
    for number, r in enumerate(schedule):
        yield make(number, r).to(device).train(model.training) if r else None


def fixed_order(count: int, number: int) -> Tensor:
    """(count,) a permutation drawn from the block's number alone: evaluation must not depend on who asks, or when."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(number))
