"""LoRA: a low-rank update beside frozen linear layers (Hu et al., ICLR 2022, arXiv 2106.09685).

y = W x + b + scale · B A x. Only A (rank, in) and B (out, rank) move. A is Kaiming-uniform with a = √5, B is zero,
so the adapted model starts as the plain one. Defaults are those of NOAH and FacT on ViT-B: rank 8 on the fused qkv
(one pair for q, k and v together), AdamW, lr 1e-3, weight decay 1e-4. `scale` is the paper's alpha / rank as one
number: changing the rank does not change it.

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
_OWNERS = ("attn", "mlp")  # patch_embed.proj has a target's name and is none


class LoRALinear(nn.Linear):
    """nn.Linear with a low-rank update; made by class swap, so `weight` and `bias` keep their names."""

    lora_a: nn.Parameter  # (rank, in)
    lora_b: nn.Parameter  # (out, rank)
    lora_scale: float

    def forward(self, input: Tensor) -> Tensor:
        """(…, in) -> (…, out)."""
        update = F.linear(F.linear(input, self.lora_a), self.lora_b)
        return F.linear(input, self.weight, self.bias) + self.lora_scale * update


@dataclass(frozen=True)
class LoRA:
    """Low-rank updates of the linear layers named by `targets`."""

    name: ClassVar[str] = "lora"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "low-rank updates beside frozen linear layers"
    paper: ClassVar[str] = "arXiv 2106.09685"
    seams: ClassVar[frozenset[str]] = frozenset({"linear"})
    families: ClassVar[tuple[str, ...]] = ("vit", "swin")
    space: ClassVar[Mapping[str, Domain]] = {
        "rank": Domain("choice", (2, 4, 8, 16, 32)),
        "scale": Domain("log", (0.1, 10.0)),
    }
    recipe: ClassVar[Mapping[str, Scalar]] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4}
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {"rank": (1, 4096), "scale": (1e-6, 1e6)}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"targets": TARGETS}
    needs: ClassVar[tuple[Need, ...]] = ()

    rank: int = 8
    scale: float = 1.0
    targets: tuple[str, ...] = ("qkv",)

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
            added += _add_update(module, self.rank, self.scale, generator)
        if not added:
            raise MethodError(f"lora found no layer named {', '.join(self.targets)} in {type(model).__name__}")
        return Adaptation(trainable=names_of(model, added))

    def merge(self, model: nn.Module) -> nn.Module:
        """W + scale · B A in plain linear layers."""
        for module in model.modules():
            if isinstance(module, LoRALinear):
                with torch.no_grad():
                    module.weight += module.lora_scale * (module.lora_b @ module.lora_a)
                del module.lora_a, module.lora_b, module.lora_scale
                swap_class(module, LoRALinear, nn.Linear)
        return model

    def _linear_layers(self, model: nn.Module) -> Iterator[nn.Linear]:
        for name, module in modules_outside_head(model):
            *_, owner, leaf = ("", "", *name.split("."))
            if leaf in self.targets and owner in _OWNERS and isinstance(module, nn.Linear):
                yield module


def _add_update(module: nn.Linear, rank: int, scale: float, generator: torch.Generator) -> tuple[nn.Parameter, ...]:
    a = torch.empty(rank, module.in_features)  # drawn on the CPU: the same values on every device
    nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
    b = module.weight.new_zeros(module.out_features, rank)
    module.lora_a = nn.Parameter(a.to(module.weight))
    module.lora_b = nn.Parameter(b)
    module.lora_scale = scale  # type: ignore[assignment]
    return module.lora_a, module.lora_b
