"""How google-research/task_adaptation makes the 19 tasks of VTAB-1k from TensorFlow Datasets (task_adaptation/data/).

train800 is `train[:800]`, val200 the first 200 of the task's validation images, test its test images, in file order.
Labels of the structured tasks are functions of an example's features. The rules are written after that code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Features = Mapping[str, Sequence[Any]]
"""Name -> flat values of a tf.train.Example; parts of a sequence are named `sequence/part`."""

_CLEVR_DISTANCES = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)
_KITTI_DISTANCES_M = (-100.0, 8.0, 20.0, 999.0)
_NO_VEHICLE_M = 1000.0
_VEHICLES = 3  # car, van and truck are the first types


@dataclass(frozen=True, kw_only=True)
class VtabRule:
    """`source`: name in TensorFlow Datasets, `config` its configuration where it has several. `val`: (split, percent at
    which the validation images begin); `test`: likewise, to the end. `label`: class of an example, None where a feature
    `label` holds it; `scale`: what pixels are multiplied with."""

    source: str
    config: str = ""
    val: tuple[str, int] = ("validation", 0)
    test: tuple[str, int] = ("test", 0)
    label: Callable[[Features], int] | None = None
    scale: int = 1


def _bin(value: float, thresholds: Sequence[float]) -> int:
    """The highest threshold that lies below the value."""
    return max((index for index, threshold in enumerate(thresholds) if threshold < value), default=0)


def _clevr_count(features: Features) -> int:
    return len(features["objects/size"]) - 3


def _clevr_distance(features: Features) -> int:
    return _bin(min(features["objects/pixel_coords"][2::3]), _CLEVR_DISTANCES)


def _kitti_distance(features: Features) -> int:
    depths = zip(features["objects/type"], features["objects/location"][2::3], strict=True)
    return _bin(min([_NO_VEHICLE_M, *(z for kind, z in depths if kind < _VEHICLES)]), _KITTI_DISTANCES_M)


def _of(name: str, original: int, classes: int) -> Callable[[Features], int]:
    """A label of `original` values in `classes` bins of neighbours."""
    return lambda features: int(features[name][0] // (original / classes))


_DSPRITES: dict[str, Any] = {"source": "dsprites", "val": ("train", 80), "test": ("train", 90), "scale": 255}
_SMALLNORB: dict[str, Any] = {"source": "smallnorb", "val": ("test", 0), "test": ("test", 50)}
_SIXTY: dict[str, Any] = {"val": ("train", 60), "test": ("train", 80)}

RULES = {
    "cifar100": VtabRule(source="cifar100", val=("train", 90)),
    "caltech101": VtabRule(source="caltech101", val=("train", 90)),
    "dtd": VtabRule(source="dtd"),
    "flowers102": VtabRule(source="oxford_flowers102"),
    "pets": VtabRule(source="oxford_iiit_pet", val=("train", 80)),
    "svhn": VtabRule(source="svhn_cropped", val=("train", 90)),
    "sun397": VtabRule(source="sun397", config="tfds"),
    "patch_camelyon": VtabRule(source="patch_camelyon"),
    "eurosat": VtabRule(source="eurosat", config="rgb", **_SIXTY),
    "resisc45": VtabRule(source="resisc45", **_SIXTY),
    "retinopathy": VtabRule(source="diabetic_retinopathy_detection", config="btgraham-300"),
    "clevr_count": VtabRule(source="clevr", val=("train", 90), test=("validation", 0), label=_clevr_count),
    "clevr_dist": VtabRule(source="clevr", val=("train", 90), test=("validation", 0), label=_clevr_distance),
    "dmlab": VtabRule(source="dmlab"),
    "kitti": VtabRule(source="kitti", label=_kitti_distance),
    "dsprites_loc": VtabRule(label=_of("label_x_position", 32, 16), **_DSPRITES),
    "dsprites_ori": VtabRule(label=_of("label_orientation", 40, 16), **_DSPRITES),
    "smallnorb_azi": VtabRule(label=_of("label_azimuth", 18, 18), **_SMALLNORB),
    "smallnorb_ele": VtabRule(label=_of("label_elevation", 9, 9), **_SMALLNORB),
}
"""Own name of a task in the suite -> its rule."""
