"""BitFit: only the biases move (Ben Zaken et al., ACL 2022, arXiv 2106.10199; on ViT "Bias" of VPT, arXiv 2203.12119).

Trained: the bias of every linear layer, convolution and norm outside the head, the patch embedding's and the final
norm's among them. Count on ViT-B/16: 12 · 11·768 + 2·768 = 102,912, of which GPS trains 83,712 too (not the norms').
A tensor that is merely called so is none: VPT's release matches the word `bias` in names and so trains Swin's
relative position bias tables, which are weights of the attention (an entry per head and offset).

Training values: AdamW, lr 1e-2, weight decay 1e-4, a point of the grid of Mai et al. (2024, arXiv 2409.16434: lr
{1e-3, 1e-2} × decay {1e-4, 1e-3}). Biases are never decayed here: the decay reaches the head alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from methods.api import Adaptation, BackboneFacts, Domain, Need, Scalar, TrainingData
from methods.surgery import freeze, modules_outside_head, names_of, thaw


@dataclass(frozen=True)
class BitFit:
    """All biases."""

    name: ClassVar[str] = "bitfit"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "trains the biases alone"
    paper: ClassVar[str] = "arXiv 2106.10199"
    seams: ClassVar[frozenset[str]] = frozenset({"weights"})
    families: ClassVar[tuple[str, ...]] = ("vit", "swin", "convnext", "sam")
    space: ClassVar[Mapping[str, Domain]] = {}
    recipe: ClassVar[Mapping[str, Scalar]] = {"optimizer": "adamw", "lr": 1e-2, "weight_decay": 1e-4}
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    needs: ClassVar[tuple[Need, ...]] = ()

    def refuses(self, facts: BackboneFacts) -> str | None:
        return None

    def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
        freeze(model)
        found = [getattr(module, "bias", None) for _, module in modules_outside_head(model)]
        biases = [bias for bias in found if isinstance(bias, nn.Parameter)]
        thaw(biases)
        return Adaptation(trainable=names_of(model, biases))

    def merge(self, model: nn.Module) -> nn.Module:
        return model
