"""What ships with the package: two architectures and three tasks. Free of torch and timm, for the planner.

PLACEHOLDER-NUMBERS
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

WEIGHTS_DIRECTORY = Path(__file__).resolve().parent / "weights"


@dataclass(frozen=True)
class EmbeddedArchitecture:
    """A plain ViT (timm's own class) for small images, pooled by the mean of its patch tokens.

    `image_size` and `patch_size` are in pixels, `mean` and `std` are per channel for pixels in [0, 1].
    """

    name: str
    dim: int
    depth: int
    heads: int
    image_size: int = 32
    patch_size: int = 4
    mlp_ratio: float = 4.0
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @property
    def patch_tokens(self) -> int:
        """Tokens without the class token."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def weights(self) -> Path:
        """The shipped weights: safetensors, timm's parameter names, no head, fp16."""
        return WEIGHTS_DIRECTORY / f"{self.name}.safetensors"

    @property
    def card(self) -> Path:
        """The JSON card beside the weights: hash, recipe, seed, command."""
        return self.weights.with_suffix(".json")


@dataclass(frozen=True)
class EmbeddedTask:
    """A classification task in the VTAB-1k protocol; the sizes are numbers of 32x32x3 images.

    `revision` rises whenever a pixel or a label of the task changes.
    """

    name: str
    classes: int
    train: int = 800
    val: int = 200
    test: int = 1000
    revision: int = 1


EMBEDDED: Mapping[str, EmbeddedArchitecture] = MappingProxyType(
    {
        "nano_vit": EmbeddedArchitecture("nano_vit", dim=96, depth=6, heads=3),
        "pico_vit": EmbeddedArchitecture("pico_vit", dim=48, depth=6, heads=3),
    }
)

EMBEDDED_TASKS: Mapping[str, EmbeddedTask] = MappingProxyType(
    {
        "digits": EmbeddedTask("digits", classes=10),
        "location": EmbeddedTask("location", classes=16),
        "count": EmbeddedTask("count", classes=8),
    }
)
