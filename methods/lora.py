"""LoRA: a low-rank update beside frozen linear layers (Hu et al., ICLR 2022, arXiv 2106.09685).

y = W x + b + scale · B A x. Only A (rank, in) and B (out, rank) move. A is Kaiming-uniform with a = √5, B is zero,
so the adapted model starts as the plain one. Defaults are those of NOAH and FacT on ViT-B: rank 8 on the fused qkv
(one pair for q, k and v together), AdamW, lr 1e-3, weight decay 1e-4. `scale` is the paper's alpha / rank as one
number: changing the rank does not change it. `dropout` acts on the input of A.

`init: trunc_normal` is what the code released with PYRA really trains with: a later initialisation pass of the whole
model overwrites the zeros, so that A and B both start with standard deviation 0.02 and the model does not start as the
plain one. It drops 0.1.

Count on ViT-B/16, rank 8, qkv: 12 · (768·8 + 8·2304) = 294,912. After merging nothing is left but plain layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.api import Adaptation, BackboneFacts, Domain, MethodError, Need, Scalar, TrainingData
from methods.surgery import freeze, modules_outside_head, names_of, swap_class

TARGETS = ("qkv", "proj", "fc1", "fc2")
INITS = ("zero", "trunc_normal")
_RELEASED_STD = 0.02
_OWNERS = ("attn", "mlp")  # patch_embed.proj has a target's name and is none


class LoRALinear(nn.Linear):
    """nn.Linear with a low-rank update; made by class swap, so `weight` and `bias` keep their names."""

    lora_a: nn.Parameter  # (rank, in)
    lora_b: nn.Parameter  # (out, rank)
    lora_scale: float
    lora_dropout: float

    def forward(self, input: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        kept = F.dropout(input, self.lora_dropout, self.training) if self.lora_dropout else input
        update = F.linear(F.linear(kept, self.lora_a), self.lora_b)
        return F.linear(input, self.weight, self.bias) + self.lora_scale * update


@dataclass(frozen=True)
class LoRA:
    """Low-rank updates of the linear layers named by `targets`."""

    name: ClassVar[str] = "lora"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "low-rank updates beside frozen linear layers"
    paper: ClassVar[str] = "arXiv 2106.09685"
    seams: ClassVar[frozenset[str]] = frozenset({"linear"})
    families: ClassVar[tuple[str, ...]] = ("vit", "swin", "sam")
    space: ClassVar[Mapping[str, Domain]] = {
        "rank": Domain("choice", (2, 4, 8, 16, 32)),
        "scale": Domain("log", (0.1, 10.0)),
    }
    recipe: ClassVar[Mapping[str, Scalar]] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4}
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {
        "rank": (1, 4096),
        "scale": (1e-6, 1e6),
        "dropout": (0, 0.99),
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"targets": TARGETS, "init": INITS}
    needs: ClassVar[tuple[Need, ...]] = ()

    rank: int = 8
    scale: float = 1.0
    targets: tuple[str, ...] = ("qkv",)
    dropout: float = 0.0
    init: str = "zero"

    def refuses(self, facts: BackboneFacts) -> str | None:
        if not self.targets:
            return f"lora has no targets; expected some of {', '.join(TARGETS)}"
        if self.rank > facts.dim:
            return f"lora.rank is {self.rank}, above the width {facts.dim} of {facts.name}: that is no low-rank update"
        return None

    def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
        freeze(model)
        generator = data.generator
        added: list[nn.Parameter] = []
        for module in self._linear_layers(model):
            swap_class(module, nn.Linear, LoRALinear)
            added += self._add_update(module, generator)
        if not added:
            raise MethodError(f"lora found no layer named {', '.join(self.targets)} in {type(model).__name__}")
        return Adaptation(trainable=names_of(model, added))

    def merge(self, model: nn.Module) -> nn.Module:
        """W + scale · B A in plain linear layers."""
        for module in model.modules():
            if isinstance(module, LoRALinear):
                with torch.no_grad():
                    module.weight += module.lora_scale * (module.lora_b @ module.lora_a)
                del module.lora_a, module.lora_b, module.lora_scale, module.lora_dropout
                swap_class(module, LoRALinear, nn.Linear)
        return model

    def _linear_layers(self, model: nn.Module) -> Iterator[nn.Linear]:
        for name, module in modules_outside_head(model):
            *_, owner, leaf = ("", "", *name.split("."))
            if leaf in self.targets and owner in _OWNERS and isinstance(module, nn.Linear):
                yield module

    def _add_update(self, module: nn.Linear, generator: torch.Generator) -> tuple[nn.Parameter, ...]:
        a = torch.empty(self.rank, module.in_features)  # drawn on the CPU: the same values on every device
        b = torch.zeros(module.out_features, self.rank)
        if self.init == "zero":
            nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        else:
            for drawn in (a, b):
                nn.init.trunc_normal_(drawn, std=_RELEASED_STD, generator=generator)
        module.lora_a, module.lora_b = nn.Parameter(a.to(module.weight)), nn.Parameter(b.to(module.weight))
        module.lora_scale, module.lora_dropout = self.scale, self.dropout  # type: ignore[assignment]
        return module.lora_a, module.lora_b
