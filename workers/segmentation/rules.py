"""What can be segmented, and with which defaults. Free of torch: plans ask here, and so does the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from methods.facts import MethodFacts
from storage.records import SEGMENTATION, Recipe

FAMILIES = ("vit", "sam")
_SAM_LR = 2e-4


def recommended(task: str, family: str | None) -> Mapping[str, float]:
    """Recipe values that go before those of the methods. With SAM: the rate of the GPS release, for every method alike.
    None with a plain ViT, whose decoder starts from random values: the methods' own rates did well (nuclei, ViT-Ti).
    """
    return {"lr": _SAM_LR} if task == SEGMENTATION and family == "sam" else {}


def refusal(task: str, family: str | None, methods: Sequence[MethodFacts], recipe: Recipe) -> str | None:
    """Why this cannot be done on data of that task; None if it can. `family` is None where nobody has looked yet."""
    if task != SEGMENTATION:
        return None
    if family is not None and family not in FAMILIES:
        return f"segmentation reads a map of patches, of a backbone of family {' or '.join(FAMILIES)}, not {family!r}"
    for method in methods:
        if "tokens" in method.seams:
            return f"{method.name!r} removes tokens, and a mask decoder needs the token of every patch"
    if recipe.augment == "crop_flip":
        return "masks are not cropped with their images here; set train.augment: flip or none"
    if recipe.mixes or recipe.label_smoothing:
        return "mixup, cutmix and label smoothing are for classes; leave them out on masks"
    return None
