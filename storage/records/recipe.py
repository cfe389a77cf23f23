"""The training recipe: everything about the optimisation that decides a number."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from storage.records.canonical import canonical_json

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("cosine", "constant")
SCHEDULE_UNITS = ("step", "epoch", "epoch_before")
PRECISIONS = ("fp32", "bf16", "fp16")
RESIZES = ("squash", "crop")
AUGMENTS = ("none", "flip", "crop_flip", "shift_flip")
HEAD_INITS = ("zero", "trunc_normal")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the trained values are found. Defaults follow the VTAB-1k habit (100 epochs, AdamW, cosine).

    `warmup_epochs` and `image_size` left at None are resolved by the plan (a tenth of the epochs, the
    backbone's own size): a Job always carries numbers.
    """

    epochs: int = 100
    batch_size: int = 32
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9  # SGD only
    schedule: str = "cosine"
    schedule_unit: str = "step"  # "epoch": as the releases of GPS and SSF; "epoch_before": PYRA's
    warmup_epochs: float | None = None
    warmup_lr: float = 0.0
    min_lr: float = 0.0
    cooldown_epochs: int = 0  # more epochs at min_lr when the cosine has run through: the release of GPS has 10
    drop_path: float = 0.0
    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    mixup_prob: float = 1.0  # per batch, when one of the two alphas is above zero
    clip_grad_norm: float | None = None
    ema_decay: float | None = None
    precision: str = "fp32"  # autocast on the device that runs the job; weights and optimizer stay fp32
    image_size: int | None = None  # pixels, square
    resize: str = "squash"  # "squash": straight to image_size (VTAB); "crop": short side, then crop (FGVC)
    augment: str = "none"  # of training images; "shift_flip" (with "crop"): VPT's random place instead of the centre
    head_init: str = "trunc_normal"  # standard deviation 0.02, as timm's ViT; "zero" starts at chance

    @cached_property
    def canonical(self) -> str:
        """The canonical JSON of all fields; `cooldown_epochs`, which came later, only where there are some."""
        kept = {name: value for name, value in asdict(self).items() if name != "cooldown_epochs" or value}
        return canonical_json(kept)

    @property
    def total_epochs(self) -> int:
        """Epochs that are trained: those of the schedule and those after it."""
        return self.epochs + self.cooldown_epochs

    @property
    def mixes(self) -> bool:
        """Whether it mixes images at all."""
        return self.mixup_prob > 0 and (self.mixup_alpha > 0 or self.cutmix_alpha > 0)

    @property
    def sees_images_as_they_are(self) -> bool:
        """Nothing random lies between an image and the head: what a frozen backbone makes of it is always the same."""
        return self.augment == "none" and not self.mixes and self.drop_path == 0

    def of_cost(self, batch_size: int) -> Recipe:
        """What of the recipe decides speed and memory of a step, at that batch size; the rest is set to defaults."""
        return Recipe(
            epochs=1,
            warmup_epochs=0.0,
            batch_size=batch_size,
            optimizer=self.optimizer,
            drop_path=self.drop_path,
            clip_grad_norm=self.clip_grad_norm,
            ema_decay=self.ema_decay,
            precision=self.precision,
            image_size=self.image_size,
        )

    def problems(self) -> list[tuple[str, str]]:
        """(field, what is wrong and what is allowed) for every value that cannot be trained with."""
        found: list[tuple[str, str]] = []
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                found.append((name, f"is {getattr(self, name)!r}; expected one of {', '.join(allowed)}"))
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                found.append((name, f"is {value}; expected {low:g} to {high:g}"))
        if self.warmup_epochs is not None and self.warmup_epochs >= self.epochs:
            found.append(("warmup_epochs", f"is {self.warmup_epochs:g}; must be below epochs ({self.epochs})"))
        if self.augment == "shift_flip" and self.resize != "crop":
            found.append(("augment", "is 'shift_flip', which needs resize: crop; set it, or take crop_flip"))
        if self.ema_decay is not None and self.ema_decay >= 1:
            found.append(("ema_decay", "is 1: the average would never move; expected below 1"))
        return found


_CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "schedule_unit": SCHEDULE_UNITS,
    "precision": PRECISIONS,
    "resize": RESIZES,
    "augment": AUGMENTS,
    "head_init": HEAD_INITS,
}
_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (1, 100_000),
    "batch_size": (1, 65_536),
    "lr": (0, 1_000),
    "weight_decay": (0, 10),
    "momentum": (0, 1),
    "warmup_epochs": (0, 100_000),
    "warmup_lr": (0, 1_000),
    "min_lr": (0, 1_000),
    "cooldown_epochs": (0, 100_000),
    "drop_path": (0, 0.99),
    "label_smoothing": (0, 0.99),
    "mixup_alpha": (0, 100),
    "cutmix_alpha": (0, 100),
    "mixup_prob": (0, 1),
    "clip_grad_norm": (1e-12, 1e12),
    "ema_decay": (0, 1),
    "image_size": (8, 4_096),
}


def recipe_fields() -> dict[str, Any]:
    """name -> annotation (as text) of every recipe field: the one list that the spec and `show` read."""
    return {field.name: field.type for field in fields(Recipe)}
