"""What the image files of a data set show one by one: damage, names that lie, modes, sizes, traces of JPEG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workers.data.check_findings import Finding, Level, some
from workers.data.check_jpeg import LEAST_SIDE, grid_excess
from workers.data.decoding import as_rgb, opened
from workers.errors import WorkerError

Told = Callable[[int, int], None]
"""Told (images done, images in all)."""

_SMALL_SOURCE = 64  # pixels of the short side up to which lossy storage is known to cost accuracy
_MARKED = 0.15  # grid excess of an image that was a JPEG; measured in the README
_MARKED_SHARE = 0.5  # of small images from which the whole set counts as damaged
_CHANCE_SHARE = 0.05  # of images that never were JPEGs look like it by chance
_TINY, _HUGE = 4, 4096  # pixels of a side
_SUFFIXES = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",), "WEBP": (".webp",), "BMP": (".bmp",), "GIF": (".gif",)}
_KIND = {"L": "greyscale", "1": "black and white", "P": "palette", "CMYK": "CMYK", "RGBA": "alpha", "LA": "alpha"}


@dataclass(frozen=True)
class ImageFacts:
    """One decoded image; sizes in pixels. `excess` is its `grid_excess`, None where it is not a small source."""

    relative: str
    format: str
    mode: str
    width: int
    height: int
    excess: float | None


def look_at(folder: Path, listed: Sequence[str], told: Told) -> tuple[tuple[ImageFacts, ...], tuple[str, ...]]:
    """Every listed image decoded once: the facts of those that can be, and a message for each that cannot."""
    facts, damaged = [], []
    for done, relative in enumerate(listed, start=1):
        try:
            facts.append(_facts(folder, relative))
        except WorkerError as error:
            damaged.append(str(error))
        told(done, len(listed))
    return tuple(facts), tuple(damaged)


def _facts(folder: Path, relative: str) -> ImageFacts:
    with opened(folder / relative) as image:
        rgb = as_rgb(image)
        excess = None
        if LEAST_SIDE <= min(image.size) <= _SMALL_SOURCE:
            excess = grid_excess(np.asarray(rgb.convert("L"), dtype=np.float32))
        return ImageFacts(relative, image.format or "unknown", image.mode, *image.size, excess)


def check_images(facts: Sequence[ImageFacts], damaged: Sequence[str]) -> Iterator[Finding]:
    """Findings on files that have been looked at."""
    if damaged:
        yield Finding(Level.PROBLEM, f"{len(damaged):,} images cannot be decoded: {some(damaged)}")
    if facts:
        yield from _sizes(facts)
        yield from _names(facts)
        yield from _modes(facts)
        yield from _jpeg(facts)


def _sizes(facts: Sequence[ImageFacts]) -> Iterator[Finding]:
    short, long = [min(one.width, one.height) for one in facts], [max(one.width, one.height) for one in facts]
    formats = ", ".join(f"{count:,} {name}" for name, count in Counter(one.format for one in facts).most_common())
    yield Finding(Level.OK, f"{formats}; short side {min(short)} to {max(short)} px, long side up to {max(long)} px")
    tiny = [one.relative for one, side in zip(facts, short, strict=True) if side < _TINY]
    if tiny:
        what = f"{len(tiny):,} images are less than {_TINY} px wide or high: {some(tiny)}"
        yield Finding(Level.PROBLEM, what, "", "nothing can be seen on them; copy them again or take them out")
    huge = [one.relative for one, side in zip(facts, long, strict=True) if side > _HUGE]
    if huge:
        what = f"{len(huge):,} images are more than {_HUGE:,} px wide or high: {some(huge)}"
        yield Finding(Level.NOTE, what, "", "decoding is slow and takes memory; shrink them without loss (PNG)")


def _names(facts: Sequence[ImageFacts]) -> Iterator[Finding]:
    wrong = [
        f"{one.relative} is {one.format}"
        for one in facts
        if one.format in _SUFFIXES and Path(one.relative).suffix.lower() not in _SUFFIXES[one.format]
    ]
    if wrong:
        what = f"{len(wrong):,} files are named as another format than they have: {some(wrong)}"
        yield Finding(Level.NOTE, what, "", "they are read by content; other tools may not: rename them")


def _modes(facts: Sequence[ImageFacts]) -> Iterator[Finding]:
    kinds = Counter(_KIND.get(one.mode, f"mode {one.mode}") for one in facts if one.mode != "RGB")
    if kinds:
        counted = ", ".join(f"{count:,} {name}" for name, count in kinds.most_common())
        advice = "read as RGB: alpha dropped, CMYK without its profile, 16 bits scaled to 8"
        yield Finding(Level.NOTE, f"not plain RGB: {counted}", "", advice)


def _jpeg(facts: Sequence[ImageFacts]) -> Iterator[Finding]:
    """A JPEG of a large photograph is how the field keeps it; a JPEG of 32×32 pixels costs many points."""
    small = [one for one in facts if one.excess is not None]
    lossy = [one.relative for one in small if one.format == "JPEG" or (one.excess or 0) > _MARKED]
    if not small:
        return
    middle = float(np.median([one.excess or 0 for one in small]))
    measured = f"grid excess, median {middle:.2f}; without JPEG about 0"
    if len(lossy) > _MARKED_SHARE * len(small):
        stored = sum(one.format == "JPEG" for one in small)
        saved = "stored as JPEG" if 2 * stored > len(lossy) else "once were JPEG, though stored without loss now"
        what = f"{len(lossy):,} of {len(small):,} images of at most {_SMALL_SOURCE} px {saved} ({measured})"
        advice = "make the set again from its source as PNG: such damage has cost 10 points on CIFAR-100"
        yield Finding(Level.PROBLEM, what, some(lossy), advice)
    elif len(lossy) > _CHANCE_SHARE * len(small):
        yield Finding(Level.NOTE, f"{len(lossy):,} of {len(small):,} small images look like former JPEGs ({measured})")
    else:
        yield Finding(Level.OK, f"no trace of JPEG on {len(small):,} small images ({measured})")
