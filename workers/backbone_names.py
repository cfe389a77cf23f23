"""Names of backbones that timm has given up because they hide which weights are meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OLD_IN21K: Mapping[str, tuple[str, ...]] = {
    f"vit_{size}_patch{patch}_224_in21k": tuple(f"vit_{size}_patch{patch}_224.{tag}" for tag in tags)
    for size, patch, tags in (
        ("tiny", 16, ("augreg_in21k",)),
        ("small", 32, ("augreg_in21k",)),
        ("small", 16, ("augreg_in21k",)),
        ("base", 32, ("augreg_in21k", "orig_in21k")),
        ("base", 16, ("augreg_in21k", "orig_in21k")),
        ("base", 8, ("augreg_in21k",)),
        ("large", 32, ("orig_in21k",)),
        ("large", 16, ("augreg_in21k", "orig_in21k")),
        ("huge", 14, ("orig_in21k",)),
    )
}
"""Old names of ViTs trained on ImageNet-21k -> the weights that exist under them today; timm takes the first."""


_AS_MLP = ("as_mlp", "asmlp")


def absent(name: str) -> str | None:
    """Why a backbone that articles on adaptation name cannot be had here; None where the name is none of those."""
    if name.lower().replace("-", "_").startswith(_AS_MLP):
        return (
            f"{name!r}: AS-MLP is not in timm, and there is no architecture of it here; use a ViT, Swin or ConvNeXt "
            "(`sweepboard backbones`)"
        )
    return None


def renamed(name: str, present: Sequence[str]) -> str:
    """Why an old name is refused, with the names to write instead: one, or augreg and orig."""
    if len(present) == 1:
        return f"{name!r} is an old name of {present[0]!r}; write that"
    augreg, orig = present
    return (
        f"{name!r} is an old name for one of two sets of weights: write {augreg!r} (what timm takes for it today) or "
        f"{orig!r} (the original release, which the NOAH and PYRA releases trained on)"
    )
