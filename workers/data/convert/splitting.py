"""Splits that a source lacks, drawn so that everybody draws the same: a pure function of names, labels and a seed.

Names are ordered by SHA-256 of `seed:name`, so no random generator of any library's version is involved. Where a source
has no validation images a tenth of its training images is held out (FGVC's rule, VPT's appendix), or 200 of 1,000
(VTAB-1k's sizes); where it has no test images a fifth of all, 12 % where there are masks (Kvasir-SEG: 880 to 120).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from workers.data.convert.source import Example, Listing
from workers.errors import ConversionFailed

SEED = 0
_VTAB_TRAINING = 1000


@dataclass(frozen=True)
class Drawn:
    """The three splits, each in the order of the source, and the rules by which they were drawn ("" as published)."""

    train: tuple[Example, ...]
    val: tuple[Example, ...]
    test: tuple[Example, ...]
    rules: tuple[str, ...]

    @property
    def sizes(self) -> dict[str, int]:
        """ "train", "val", "test" -> number of images."""
        return {"train": len(self.train), "val": len(self.val), "test": len(self.test)}


def drawn(listing: Listing, seed: int = SEED) -> Drawn:
    """Raises ConversionFailed where there are too few images."""
    parts: dict[str, list[Example]] = {"train": [], "val": [], "test": []}
    for example in listing.examples:
        parts[example.split or "train"].append(example)
    rules: list[str] = []
    if not parts["train"]:
        raise ConversionFailed("the source has no training images: nothing could learn from it; add them")
    if not parts["test"] and parts["val"]:
        parts["test"], parts["val"] = parts["val"], []
        rules.append("test: the source's validation images, since it has no labelled test images")
    if not parts["test"]:
        share = 12 if parts["train"][0].mask else 20
        _hold_out(parts, "test", _share(len(parts["train"]), share), seed)
        rules.append(f"test: {share} % of all images, {_how(parts, seed)}")
    if not parts["val"]:
        is_vtab = len(parts["train"]) == _VTAB_TRAINING and not parts["train"][0].mask
        _hold_out(parts, "val", 200 if is_vtab else _share(len(parts["train"]), 10), seed)
        amount = "200 of the 1,000" if is_vtab else "10 % of the"
        rules.append(f"val: {amount} training images, {_how(parts, seed)}")
    return Drawn(tuple(parts["train"]), tuple(parts["val"]), tuple(parts["test"]), tuple(rules))


def _share(total: int, percent: int) -> int:
    return max(1, (total * percent + 50) // 100)


def _how(parts: dict[str, list[Example]], seed: int) -> str:
    per_class = "" if parts["train"][0].mask else " of each class"
    return f"the first{per_class} by SHA-256 of '{seed}:name'"


def _hold_out(parts: dict[str, list[Example]], split: str, count: int, seed: int) -> None:
    """Moves `count` training images, or fewer where classes have one image only. Raises ConversionFailed."""
    chosen = _chosen(parts["train"], count, seed)
    if not chosen:
        raise ConversionFailed(
            f"{len(parts['train'])} images in as many classes are too few to hold out {split}; add images or splits"
        )
    parts[split] = [example for example in parts["train"] if example.name in chosen]
    parts["train"] = [example for example in parts["train"] if example.name not in chosen]


def _chosen(examples: Sequence[Example], count: int, seed: int) -> frozenset[str]:
    """Stratified: each class gives its share, remainders go to the largest fractions; one image always stays."""
    classes: dict[int, list[str]] = defaultdict(list)
    for example in examples:
        classes[example.label].append(example.name)
    room = {label: len(names) - 1 for label, names in classes.items()}
    share = {label: divmod(count * len(names), len(examples)) for label, names in classes.items()}
    given = {label: min(whole, room[label]) for label, (whole, _) in share.items()}
    order = sorted(classes, key=lambda label: (-share[label][1], label))
    while sum(given.values()) < min(count, sum(room.values())):
        for label in order:
            if sum(given.values()) < count and given[label] < room[label]:
                given[label] += 1
    ranked = {label: sorted(names, key=lambda name: _rank(seed, name)) for label, names in classes.items()}
    return frozenset(name for label, names in ranked.items() for name in names[: given[label]])


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()
