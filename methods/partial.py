"""Partial-k: the last k blocks and all that follows them move (a baseline of VPT, ECCV 2022, arXiv 2203.12119).

Everything that runs from block depth - k on is trained: the blocks, what lies between them (Swin's and ConvNeXt's
reductions between stages), and the final norm. Blocks of hierarchical backbones are counted through the stages. Count
on ViT-B/16: k · (12·768² + 13·768) + 2·768 = k · 7,087,872 + 1,536; with k = 12 all but the embeddings.

Training values: those of full fine-tuning, AdamW, lr 5e-4, weight decay 1e-4, a point of the grid that VPT's release
searches for both (lr {5e-3, 1e-3, 5e-4, 1e-4} × decay {1e-2, 1e-3, 1e-4, 0}).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import dropwhile
from typing import ClassVar

from torch import nn

from methods.api import Adaptation, BackboneFacts, Domain, MethodError, Need, Scalar, TrainingData
from methods.surgery import freeze, modules_outside_head, names_of, thaw, transformer_blocks


@dataclass(frozen=True)
class Partial:
    """The last blocks."""

    name: ClassVar[str] = "partial"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "trains the last blocks and the final norm"
    paper: ClassVar[str] = "arXiv 2203.12119"
    seams: ClassVar[frozenset[str]] = frozenset({"weights"})
    families: ClassVar[tuple[str, ...]] = ("vit", "swin", "convnext")
    space: ClassVar[Mapping[str, Domain]] = {"blocks": Domain("choice", (1, 2, 4))}
    recipe: ClassVar[Mapping[str, Scalar]] = {"optimizer": "adamw", "lr": 5e-4, "weight_decay": 1e-4}
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {"blocks": (1, 1000)}
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    needs: ClassVar[tuple[Need, ...]] = ()

    blocks: int = 1

    def refuses(self, facts: BackboneFacts) -> str | None:
        if self.blocks > facts.depth:
            return f"partial.blocks is {self.blocks}; {facts.name} has {facts.depth} blocks"
        return None

    def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
        freeze(model)
        trained = [value for module in self._from_first_trained(model) for value in module.parameters(recurse=False)]
        thaw(trained)
        return Adaptation(trainable=names_of(model, trained))

    def merge(self, model: nn.Module) -> nn.Module:
        return model

    def _from_first_trained(self, model: nn.Module) -> Iterator[nn.Module]:
        """The modules from the first trained block on; timm registers modules in the order in which they run."""
        blocks = transformer_blocks(model)
        if self.blocks > len(blocks):
            raise MethodError(f"partial.blocks is {self.blocks}; {type(model).__name__} has {len(blocks)} blocks")
        first = blocks[-self.blocks]
        modules = (module for _, module in modules_outside_head(model))
        return dropwhile(lambda module: module is not first, modules)
