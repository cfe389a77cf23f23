"""SAM's mask decoder without prompts (Kirillov et al., ICCV 2023, arXiv 2304.02643, appendix A).

Names of parameters and order of operations are those of the `segment-anything` release, so that `mask_decoder.*` and
`prompt_encoder.*` of its checkpoints fit as they are. A few tokens look at the map of image features and it at them
(two-way transformer); the map is enlarged four times; the token of the single mask becomes a filter over it.

Of the checkpoint's four mask tokens only the first one is asked for (`multimask_output=False`), and the predicted IoU
is not read: the other three hypernetworks and the IoU head are kept, counted and saved, but get no gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

_MASK_TOKENS = 4


@dataclass(frozen=True)
class DecoderSizes:
    """SAM's by default. `dim`: width of the map and of the tokens, a multiple of 8 and of `heads`."""

    dim: int = 256
    heads: int = 8
    mlp_dim: int = 2048
    depth: int = 2


class _Attention(nn.Module):
    def __init__(self, dim: int, heads: int, narrowing: int = 1) -> None:
        super().__init__()
        self.num_heads, inner = heads, dim // narrowing
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(dim, inner), nn.Linear(dim, inner), nn.Linear(dim, inner)
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, n, dim), (B, m, dim), (B, m, dim) -> (B, n, dim)."""
        parts = (self.q_proj(q), self.k_proj(k), self.v_proj(v))
        queries, keys, values = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        weights = (queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])).softmax(dim=-1)
        return self.out_proj((weights @ values).transpose(1, 2).flatten(2))


class _TokenMLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.lin1, self.lin2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.lin2(F.relu(self.lin1(tokens)))


class _MLP(nn.Module):
    """Three linear layers with ReLU between them."""

    def __init__(self, given: int, hidden: int, made: int) -> None:
        super().__init__()
        sizes = (given, hidden, hidden, made)
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        first, second, last = self.layers
        return last(F.relu(second(F.relu(first(x)))))


class _TwoWayBlock(nn.Module):
    def __init__(self, sizes: DecoderSizes, is_first: bool) -> None:
        super().__init__()
        dim, heads = sizes.dim, sizes.heads
        self.self_attn = _Attention(dim, heads)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.cross_attn_token_to_image = _Attention(dim, heads, 2)
        self.mlp = _TokenMLP(dim, sizes.mlp_dim)
        self.norm3, self.norm4 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.cross_attn_image_to_token = _Attention(dim, heads, 2)
        self.is_first = is_first

    def forward(self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, t, dim) and image (B, h·w, dim) after they have seen each other."""
        if self.is_first:  # the tokens are their own position embedding there, and the release adds no residual
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + token_pe
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + token_pe, image + image_pe, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(image + image_pe, tokens + token_pe, tokens))
        return tokens, image


class _TwoWayTransformer(nn.Module):
    def __init__(self, sizes: DecoderSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_TwoWayBlock(sizes, at == 0) for at in range(sizes.depth))
        self.final_attn_token_to_image = _Attention(sizes.dim, sizes.heads, 2)
        self.norm_final_attn = nn.LayerNorm(sizes.dim)

    def forward(self, image: Tensor, image_pe: Tensor, token_pe: Tensor) -> tuple[Tensor, Tensor]:
        tokens = token_pe
        for layer in self.layers:
            tokens, image = layer(tokens, image, token_pe, image_pe)
        seen = self.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
        return self.norm_final_attn(tokens + seen), image


class MaskDecoder(nn.Module):
    """Image features -> logits of one mask, four times as high and wide."""

    def __init__(self, sizes: DecoderSizes) -> None:
        super().__init__()
        dim = sizes.dim
        self.transformer = _TwoWayTransformer(sizes)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(_MASK_TOKENS, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(_MLP(dim, dim, dim // 8) for _ in range(_MASK_TOKENS))
        self.iou_prediction_head = _MLP(dim, dim, _MASK_TOKENS)

    def forward(self, image: Tensor, image_pe: Tensor) -> Tensor:
        """`image` (B, dim, h, w) with the dense embedding added, `image_pe` (1, dim, h, w) -> (B, 1, 4h, 4w)."""
        tokens = torch.cat([self.iou_token.weight, self.mask_tokens.weight]).expand(len(image), -1, -1)
        places = image_pe.flatten(2).transpose(1, 2)
        seen, flat = self.transformer(image.flatten(2).transpose(1, 2), places, tokens)
        enlarged = self.output_upscaling(flat.transpose(1, 2).unflatten(2, image.shape[-2:]))
        mask_filter = self.output_hypernetworks_mlps[0](seen[:, 1])  # behind the IoU token: the single mask
        return torch.einsum("bc,bchw->bhw", mask_filter, enlarged).unsqueeze(1)


class _RandomPositions(nn.Module):
    positional_encoding_gaussian_matrix: Tensor  # (2, dim / 2); fixed, and part of the checkpoint

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, dim // 2))

    def forward(self, height: int, width: int) -> Tensor:
        """(1, dim, height, width): sines and cosines of random projections of each cell's centre in [-1, 1]²."""
        matrix = self.positional_encoding_gaussian_matrix
        rows = (torch.arange(height, device=matrix.device, dtype=matrix.dtype) + 0.5) / height
        columns = (torch.arange(width, device=matrix.device, dtype=matrix.dtype) + 0.5) / width
        centres = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=-1)
        angles = 2 * math.pi * ((2 * centres - 1) @ matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1).permute(2, 0, 1).unsqueeze(0)


class NoPrompt(nn.Module):
    """What SAM's prompt encoder gives where there is no prompt: one vector for every cell, and positions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.no_mask_embed = nn.Embedding(1, dim)
        self.pe_layer = _RandomPositions(dim)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, dim, h, w) -> the same with the vector added, and positions (1, dim, h, w)."""
        positions = self.pe_layer(*image.shape[-2:]).to(image.dtype)
        return image + self.no_mask_embed.weight.reshape(1, -1, 1, 1), positions
