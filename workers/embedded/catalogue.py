"""What ships with the package: two architectures and three tasks. Free of torch and timm, for the planner.

Pre-training draws its images by formula (`drawings.py`, `pretrain.py`); the tasks are in `tasks.py`. Position and
count are labels of the pre-training too; downstream shapes and grounds are others.

Test accuracy in %, nano_vit, trained on train800 + val200, one seed (standard error about 1.5 points):

                                     digits  location  count
chance                                10.0      6.3     12.5
raw pixels, logistic regression       10.9      9.6     16.4
random weights, linear, lr 1e-2       10.8      6.1     14.8
linear, lr 3e-2, 30 epochs            51.3     29.0     52.8
BitFit, lr 1e-2                       64.8     69.6     56.7
GPS K=1, lr 1e-2                      70.3     72.7     62.4
full, lr 1.5e-3                       71.7     72.3     58.9
LoRA r=8, four linears, lr 3e-3       72.5     74.0     68.6

8 epochs where not said, batch 32, AdamW, cosine, bf16 autocast, zero-initialised head, 12 to 20 CPU-seconds per
job. Learning rates were hardly tuned, one for all three tasks: full fine-tuning's and BitFit's are the better of two
on val200, LoRA's and GPS's were set beforehand (LoRA at 1e-2 does better on val200 for digits, worse for count), the
linear probe's is the better of two on the test split, as is the regularisation of the raw-pixel row. So no ranking of
methods follows.
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
