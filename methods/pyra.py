"""PYRA: parallel yielding re-activation of merged tokens (Xiong et al., ECCV 2024, arXiv 2403.09192).

Tokens are merged as in ToMe, and before two tokens become one the source is modulated by weights that see both:

    I  = LayerNorm(S + T)                       S, T: (B, r, D) size-weighted sources and their targets
    S' = S + S · 2σ(W_rᵀ I) · (2σ(I W_Dᵀ) - 1)  W_r: (r, 1), W_D: (1, D) per block; W_D from zero: starts as ToMe
    merged = (T's weighted sum + Σ S') / sizes

Stack it with a PEFT method: `[{lora: {rank: 8}}, {pyra: {merge_rate: high}}]`. Trained per block: D + r, and 2D of the
norm. ViT-B/16 at high: 27,840 under `preset: release`, 25,533 by default, 8,637 under `paper`: with a class-token head
the last block's modulator has no gradient, because what it changes is never attended to again, and the default leaves
it out (with average pooling it learns, and stays).

`preset: release` is the released code with its quirks, `paper` the text; each difference is a switch of its own
(methods/pyra_settings.py has the table). `lr_factor` multiplies the learning rate of W_r, W_D and norm; the release
has an option for it that reaches nothing, so its value there is 1. What LoRA does in that release is LoRA's own:
`lora: {init: trunc_normal, dropout: 0.1}`. `generator` and `activation` are the paper's ablations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from timm.models.deit import VisionTransformerDistilled
from torch import Generator, nn

from methods.api import Adaptation, BackboneFacts, Domain, Need, Scalar, TrainingData
from methods.distilled_head import train_class_head_only
from methods.pyra_merging import MeanMerging, ModulatedMerging
from methods.pyra_modulators import KINDS, W_R_INITS, ModulatorShape, modulator
from methods.pyra_settings import PRESETS, settle
from methods.surgery import freeze, names_of
from methods.token_blocks import facts_of_model, fixed_order, per_block, reads_patches, reduce_tokens, settled
from methods.token_schedule import Shape, tokens_after


@dataclass(frozen=True)
class PYRA:
    """Merges similar tokens, each source re-activated before it is merged."""

    name: ClassVar[str] = "pyra"
    revision: ClassVar[int] = 1
    summary: ClassVar[str] = "merges similar tokens in every block and trains how they are merged"
    paper: ClassVar[str] = "arXiv 2403.09192"
    seams: ClassVar[frozenset[str]] = frozenset({"tokens", "block", "attention"})
    families: ClassVar[tuple[str, ...]] = ("vit",)
    space: ClassVar[Mapping[str, Domain]] = {
        "lr_factor": Domain("log", (0.01, 3.0)),
        "mac_ratio": Domain("uniform", (0.25, 0.95)),
    }
    recipe: ClassVar[Mapping[str, Scalar]] = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-4}
    bounds: ClassVar[Mapping[str, tuple[float, float]]] = {
        "mac_ratio": (0.05, 1),
        "speed_up": (1, 20),
        "schedule": (0, 10_000),
        "lr_factor": (1e-6, 1e6),
    }
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "merge_rate": ("low", "high"),
        "preset": tuple(PRESETS),
        "generator": KINDS,
        "place": ("after_attn", "before_attn"),
        "split": ("alternating", "random"),
        "pooling": ("weighted", "mean"),
        "w_r_init": W_R_INITS,
        "distilled_head": ("both", "class_only"),
    }
    needs: ClassVar[tuple[Need, ...]] = ()
    settled_by: ClassVar[str] = "methods.pyra_settings:settle"

    merge_rate: str | None = None
    schedule: tuple[int, ...] = ()
    mac_ratio: float | None = None
    speed_up: float | None = None
    preset: str = "default"
    lr_factor: float = 1.0
    generator: str = "pyra"
    activation: bool = True
    place: str | None = None
    split: str | None = None
    pooling: str | None = None
    norm_affine: bool | None = None
    w_r_init: str | None = None
    modulate_last: bool | None = None
    distilled_head: str | None = None
    prop_attn: bool | None = None

    def refuses(self, facts: BackboneFacts) -> str | None:
        return None

    def prepare(self, model: nn.Module, data: TrainingData) -> Adaptation:
        own = settled(self, settle, model)
        freeze(model)
        reductions = own._reductions(model, data.generator)
        first = own.place == "before_attn"
        reduce_tokens(model, reductions, reduces_first=first, proportional=bool(own.prop_attn))
        if own.distilled_head == "class_only" and isinstance(model, VisionTransformerDistilled):
            train_class_head_only(model, data.generator)
        trained = [parameter for part in reductions if part is not None for parameter in part.parameters()]
        names = names_of(model, trained)
        return Adaptation(trainable=names, lr_factor=dict.fromkeys(names, self.lr_factor))

    def _reductions(self, model: nn.Module, draws: Generator) -> list[nn.Module | None]:
        """One merging per block, of settled switches."""
        facts = facts_of_model(model)
        before = (facts.tokens, *tokens_after(self.schedule, Shape.of(facts)))
        learns_last = self.modulate_last if self.modulate_last is not None else reads_patches(model)
        kind = MeanMerging if self.pooling == "mean" else ModulatedMerging

        def make(number: int, r: int) -> nn.Module:
            affine, init = bool(self.norm_affine), str(self.w_r_init)
            shape = ModulatorShape(self.generator, r, facts.dim, self.activation, affine, init)
            modulated = modulator(shape, draws) if learns_last or number + 1 < facts.depth else None
            patches = before[number] - facts.prefix_tokens
            order = fixed_order(patches, number) if self.split == "random" else None
            return kind(r, facts.prefix_tokens, modulated, order)

        return list(per_block(model, self.schedule, make))

    def merge(self, model: nn.Module) -> nn.Module:
        """Nothing can be folded: the weights depend on the tokens."""
        return model
