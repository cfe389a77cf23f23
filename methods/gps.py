"""GPS: gradient-based parameter selection (Zhang et al., CVPR 2024, arXiv 2312.10136).

Of every neuron (row of a linear or convolution weight) the K input connections with the largest gradient of a
supervised contrastive loss at the pre-trained weights are trained, and nothing is added to the network. Trained
besides, as in the release though not in the text: the biases of these layers, layer scales, Swin's bias tables.
Norms, position embedding and class token are frozen. Count on ViT-B/16: 83,712 · (K + 1), without the head.

Defaults: K = 1 (17 of 19 VTAB tasks in the release), temperature 0.07; Adam without weight decay, lr 2e-3 (the
median of the release's VTAB scripts). Weight decay is safe here, it reaches the selected values only.

On SAM's encoder the neck adds 512 rows without biases: 84,224 K + 83,712. `preset: release` also trains the biases of
the neck's two norms (`train_neck_norm_biases`), as the released code does by their names: 84,224 (K + 1), 168,448 at
K = 1. On data with masks scores are gradients of the training loss (`loss: task`) over the *training* images, one by
one; the release took its test images there, which no preset does.

Deviations from the release, all deliberate: selected values live in compact tensors (methods/compact.py), so no
dense mask, gradient or optimizer state exists; scores are summed in fp32; ties go to the last position; K above a
row's length takes the whole row; eligibility is by module type; `exclude_blocks` names exact block numbers (the
release's `blocks.1` also matches 10 and 11) and leaves the patch embedding in. Levels `layer` and `net` take as
many connections as `neuron` does, exactly; `random` draws uniformly at the chosen level (the release permutes rows).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from methods.api import Adaptation, BackboneFacts, Domain, MethodError, MissingArtifact, Need, Scalar, TrainingData
from methods.compact import CompactConv2d, CompactLinear, compact, restore_plain
from methods.gps_scores import LOSSES, ScoringRecipe, gradient_orders
from methods.gps_selection import (
    K_MAX,
    LEVELS,
    Orders,
    Rule,
    arbitrary_orders,
    eligible,
    flat_positions,
    fully_trained,
    neck_norm_biases,
    nested_orders,
    part_for,
    weights_in_blocks,
    weights_of,
)
from methods.gps_settings import PRESETS
from methods.surgery import freeze, names_of, thaw

SCORES = "gps_scores"
_BY_GRADIENT = ("gradient",)


@dataclass(frozen=True)
class GPS:
    """The K most important input connections of every neuron."""

    name: ClassVar[str] = "gps"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "trains the input connections with the largest gradient, K per neuron"
    paper: ClassVar[str] = "arXiv 2312.10136"
    seams: ClassVar[frozenset[str]] = frozenset({"weights", "linear"})
    families: ClassVar[tuple[str, ...]] = ("vit", "swin", "convnext", "sam")
    space: ClassVar[Mapping[str, Domain]] = {"connections_per_neuron": Domain("int", (1, 15))}
    recipe: ClassVar[Mapping[str, Scalar]] = {"optimizer": "adam", "lr": 2e-3, "weight_decay": 0.0}
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {
        "connections_per_neuron": (1, K_MAX),
        "exclude_blocks": (0, 1000),
        "temperature": (1e-3, 10),
        "selection_batch_size": (1, 65_536),
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "level": LEVELS,
        "criterion": ("gradient", "magnitude", "random"),
        "loss": LOSSES,
        "preset": PRESETS,
    }
    by_task: ClassVar[Mapping[str, Mapping[str, Scalar]]] = {
        "segmentation": {"loss": "task", "selection_batch_size": 1}
    }
    later: ClassVar[tuple[str, ...]] = ("preset", "train_neck_norm_biases")
    settled_by: ClassVar[str] = "methods.gps_settings:settle"
    needs: ClassVar[tuple[Need, ...]] = (
        Need(
            SCORES,
            ("loss", "temperature", "selection_batch_size"),
            {"criterion": _BY_GRADIENT, "loss": ("supcon",)},
        ),
        Need(SCORES, ("loss", "selection_batch_size"), {"criterion": _BY_GRADIENT, "loss": ("cross_entropy", "task")}),
    )

    connections_per_neuron: int = 1
    level: str = "neuron"
    criterion: str = "gradient"
    loss: str = "supcon"
    exclude_blocks: tuple[int, ...] = ()
    temperature: float = 0.07
    selection_batch_size: int = 32
    preset: str = "default"
    train_neck_norm_biases: bool = False

    def refuses(self, facts: BackboneFacts) -> str | None:
        beyond = [number for number in self.exclude_blocks if number >= facts.depth]
        if beyond:
            return f"gps.exclude_blocks names block {beyond[0]}; {facts.name} has blocks 0 to {facts.depth - 1}"
        if self.criterion == "gradient" and self.loss == "supcon" and self.selection_batch_size < 2:
            return "gps.selection_batch_size is 1, and the supcon loss of one image is always 0; set 2 or more"
        return None

    def make_artifact(self, kind: str, model: nn.Module, data: TrainingData) -> Mapping[str, Tensor]:
        """The orders of every level for every K up to K_MAX (at most 20 MB for ViT-B), from one scoring pass."""
        if kind != SCORES:
            raise MethodError(f"gps makes {SCORES!r}, not {kind!r}")
        return gradient_orders(model, data, ScoringRecipe(self.loss, self.temperature, self.selection_batch_size))

    def stand_in(self, kind: str, model: nn.Module) -> Mapping[str, Tensor]:
        """Orders for this K and level; how many values they train is the same for every order."""
        if kind != SCORES:
            raise MethodError(f"gps makes {SCORES!r}, not {kind!r}")
        return arbitrary_orders(weights_of(model), self.level, self.connections_per_neuron)

    def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
        weights, layers = weights_of(model), eligible(model)
        rule = Rule(self.level, self.connections_per_neuron, weights_in_blocks(model, self.exclude_blocks))
        part = part_for(rule, self._orders(weights, data), weights)
        freeze(model)
        positions = flat_positions(part, self.level, weights)
        trained = [compact(layers[name], flat) for name, flat in positions.items()]
        whole = fully_trained(model, self.exclude_blocks)
        whole += neck_norm_biases(model) if self.train_neck_norm_biases else []
        thaw(whole)
        return Adaptation(trainable=names_of(model, trained + whole), carried={SCORES: part})

    def merge(self, model: nn.Module) -> nn.Module:
        """Plain layers that hold the trained values."""
        for module in model.modules():
            if isinstance(module, CompactLinear | CompactConv2d):
                restore_plain(module)
        return model

    def _orders(self, weights: Mapping[str, Tensor], data: TrainingData) -> Mapping[str, Tensor]:
        """Stored orders: a prepare job's, or those that a delta carries. Magnitude and random can do without."""
        try:
            return data.artifact(SCORES)
        except MissingArtifact:
            if self.criterion == "gradient":
                raise
        return self._orders_without_data(weights, data.generator)

    def _orders_without_data(self, weights: Mapping[str, Tensor], generator: torch.Generator) -> Orders:
        def score_of(name: str) -> Tensor:
            if self.criterion == "magnitude":
                return weights[name].detach().abs()
            return torch.rand(weights[name].shape, generator=generator)

        return nested_orders(weights, score_of, self.connections_per_neuron, (self.level,))
