"""Linear probing: nothing of the backbone moves, the head alone is trained.

Count: 0 (the head, C·(D+1) values, is the trainer's). Training values: AdamW, lr 1e-2, weight decay 1e-4, a point
of the grid of Mai et al. (2024, arXiv 2409.16434), who search lr {1e-3, 1e-2} × decay {1e-4, 1e-3} for every
method; VPT (arXiv 2203.12119) searches SGD rates up to 50 instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from methods.api import Adaptation, BackboneFacts, Domain, Need, Scalar, TrainingData
from methods.surgery import freeze


@dataclass(frozen=True)
class Linear:
    """Nothing but the head."""

    name: ClassVar[str] = "linear"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "trains the head alone"
    paper: ClassVar[str] = ""
    seams: ClassVar[frozenset[str]] = frozenset()
    families: ClassVar[tuple[str, ...]] = ("*",)
    space: ClassVar[Mapping[str, Domain]] = {}
    recipe: ClassVar[Mapping[str, Scalar]] = {"optimizer": "adamw", "lr": 1e-2, "weight_decay": 1e-4}
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    needs: ClassVar[tuple[Need, ...]] = ()
    keeps_features: ClassVar[bool] = True

    def refuses(self, facts: BackboneFacts) -> str | None:
        return None

    def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
        freeze(model)
        return Adaptation()

    def merge(self, model: nn.Module) -> nn.Module:
        return model
