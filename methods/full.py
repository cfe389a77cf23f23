"""Full fine-tuning: every parameter of the backbone moves.

Training values: AdamW, lr 5e-4, weight decay 1e-4, a point of VPT's grid (arXiv 2203.12119, appendix: lr
{5e-3, 1e-3, 5e-4, 1e-4} × decay {1e-2, 1e-3, 1e-4, 0}); tune lr before you quote this row, it is the method that
suffers most from a rate that is not its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from methods.api import Adaptation, BackboneFacts, Domain, Need, Scalar, TrainingData
from methods.surgery import head_parameters, names_of, thaw


@dataclass(frozen=True)
class Full:
    """Everything."""

    name: ClassVar[str] = "full"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "trains every parameter"
    paper: ClassVar[str] = ""
    seams: ClassVar[frozenset[str]] = frozenset({"weights"})
    families: ClassVar[tuple[str, ...]] = ("*",)
    space: ClassVar[Mapping[str, Domain]] = {}
    recipe: ClassVar[Mapping[str, Scalar]] = {"optimizer": "adamw", "lr": 5e-4, "weight_decay": 1e-4}
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    needs: ClassVar[tuple[Need, ...]] = ()

    def refuses(self, facts: BackboneFacts) -> str | None:
        return None

    def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
        head = {id(parameter) for parameter in head_parameters(model)}
        backbone = [parameter for parameter in model.parameters() if id(parameter) not in head]
        thaw(backbone)
        return Adaptation(trainable=names_of(model, backbone))

    def merge(self, model: nn.Module) -> nn.Module:
        return model
