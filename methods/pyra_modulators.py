"""What changes the sources of a merge in PYRA, and what it is ablated against (arXiv 2403.09192, §3 and ablations).

A modulator is called with the r sources S and their targets T of a merge, (B, r, D) each, size-weighted, sources most
similar first, and answers the sources S' that are merged. All but `w_r` with released starting values begin as the
identity, so that training starts from plain merging.

    I  = LayerNorm(S + T)
    pyra     S' = S + S · a(W_rᵀ I) · c(I W_Dᵀ)              a(z) = 2σ(z), c(z) = 2σ(z) - 1
    w_r      S' = S + S · c(W_rᵀ I)                          the channel half alone, W_r from zero
    w_d      S' = S + S · c(I W_Dᵀ)                          the token half alone
    matrix   S' = S + S · c(W)                               a free W (r, D) per block
    mlp      S' = S + S · c(W_2 g(W_1 I))                    a bottleneck of 4 with QuickGELU as generator

Without activation a(z) = c(z) = z. The paper does not write down its ablations' formulas; these are the readings that
agree with its parameter counts (mlp: 73,728 on ViT-B; w_d: D per block) and start as plain merging.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

KINDS = ("pyra", "w_r", "w_d", "matrix", "mlp")
W_R_INITS = ("uniform", "gaussian")
MLP_HIDDEN = 4
_NORM_EPS = 1e-5


@dataclass(frozen=True)
class ModulatorShape:
    """r: tokens merged in the block, dim: their width. `w_r_init`: U(-1, 1) (release) or N(0, 1)."""

    kind: str
    r: int
    dim: int
    activation: bool = True
    norm_affine: bool = True
    w_r_init: str = "uniform"


class _Modulator(nn.Module):
    """Shared: the norm of the information matrix, and the two activations."""

    def __init__(self, shape: ModulatorShape) -> None:
        super().__init__()
        self.is_active = shape.activation

    def channel_gain(self, z: Tensor) -> Tensor:
        return 2 * z.sigmoid() if self.is_active else z

    def centred_gain(self, z: Tensor) -> Tensor:
        return 2 * z.sigmoid() - 1 if self.is_active else z


class _Informed(_Modulator):
    """Those that read I = LayerNorm(S + T)."""

    def __init__(self, shape: ModulatorShape) -> None:
        super().__init__(shape)
        self.norm = nn.LayerNorm(shape.dim, eps=_NORM_EPS, elementwise_affine=shape.norm_affine)


class PyraModulator(_Informed):
    """`w_r`: (r, 1), one weight per similarity rank; `w_d`: (1, D), from zero."""

    def __init__(self, shape: ModulatorShape, generator: Generator) -> None:
        super().__init__(shape)
        w_r = torch.empty(shape.r, 1)
        if shape.w_r_init == "uniform":
            w_r.uniform_(-1, 1, generator=generator)
        else:
            w_r.normal_(generator=generator)
        self.w_r, self.w_d = nn.Parameter(w_r), nn.Parameter(torch.zeros(1, shape.dim))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        information = self.norm(source + target)
        per_channel = self.channel_gain(self.w_r.t() @ information)  # (B, 1, D)
        per_token = self.centred_gain(information @ self.w_d.t())  # (B, r, 1)
        return source + source * per_channel * per_token


class ChannelModulator(_Informed):
    """W_r alone."""

    def __init__(self, shape: ModulatorShape, generator: Generator) -> None:
        super().__init__(shape)
        self.w_r = nn.Parameter(torch.zeros(shape.r, 1))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return source + source * self.centred_gain(self.w_r.t() @ self.norm(source + target))


class TokenModulator(_Informed):
    """W_D alone."""

    def __init__(self, shape: ModulatorShape, generator: Generator) -> None:
        super().__init__(shape)
        self.w_d = nn.Parameter(torch.zeros(1, shape.dim))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return source + source * self.centred_gain(self.norm(source + target) @ self.w_d.t())


class MatrixModulator(_Modulator):
    """A learned matrix that reads nothing."""

    def __init__(self, shape: ModulatorShape, generator: Generator) -> None:
        super().__init__(shape)
        self.w = nn.Parameter(torch.zeros(shape.r, shape.dim))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return source + source * self.centred_gain(self.w)


class MlpModulator(_Informed):
    """A bottleneck that generates a gain for every token and channel. `down`: (4, D), `up`: (D, 4), from zero."""

    def __init__(self, shape: ModulatorShape, generator: Generator) -> None:
        super().__init__(shape)
        down = nn.init.trunc_normal_(torch.empty(MLP_HIDDEN, shape.dim), std=0.02, generator=generator)
        self.down, self.up = nn.Parameter(down), nn.Parameter(torch.zeros(shape.dim, MLP_HIDDEN))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        hidden = F.linear(self.norm(source + target), self.down)
        return source + source * self.centred_gain(F.linear(hidden * (1.702 * hidden).sigmoid(), self.up))


_CLASSES = dict(
    zip(KINDS, (PyraModulator, ChannelModulator, TokenModulator, MatrixModulator, MlpModulator), strict=True)
)


def modulator(shape: ModulatorShape, generator: Generator) -> nn.Module:
    """The modulator of that kind; values drawn on the CPU, the same on every device."""
    return _CLASSES[shape.kind](shape, generator)
