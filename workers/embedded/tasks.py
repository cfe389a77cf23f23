"""Draws the embedded tasks: digits on clutter (real handwriting), horizontal location and count of sprites.

An image is a pure function of (task, split, index): each has a PCG64 generator of its own, so neither the
order of drawing nor the process's random state matters. Labels are balanced within each split.

digits    scikit-learn's handwritten digits (8x8), enlarged, shifted and pasted on clutter. Train, val and
          test use disjoint instances: per class 80, 20 and the remaining 74 to 83 (the test split shows some
          of its instances twice, on other clutter).
location  the column of a single sprite in 16 bins, as the x position of VTAB's dSprites-Location.
count     1 to 8 sprites that do not touch.

Shapes and grounds differ from those of the pre-training images, but position and count are labels there too:
these two tasks show a transfer between near domains. There is no orientation task: in a trial with 16 bins
it stayed near chance even for LoRA, and so does the turn head of the pre-training (loss 0.98 of chance).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import numpy.typing as npt

from workers.embedded.catalogue import EMBEDDED_TASKS
from workers.embedded.clutter import (
    IMAGE_SIZE,
    FloatArray,
    as_bytes,
    contrasting_colour,
    draw_lines,
    enlarged,
    lay,
    value_noise,
)
from workers.embedded.sprites import Sprite, random_sprite, sprite_mask

ImageArray = npt.NDArray[np.uint8]
LabelArray = npt.NDArray[np.int64]

SPLITS = ("train800", "val200", "test")
_DIGITS_PER_CLASS = {"train800": slice(0, 80), "val200": slice(80, 100), "test": slice(100, None)}
_LOCATION_RANGE_PX = (4.0, 28.0)
_MOST_PLACING_TRIES = 60


def draw_split(task: str, split: str) -> tuple[ImageArray, LabelArray]:
    """Images uint8 [n, 32, 32, 3] and labels int64 [n] of split "train800", "val200" or "test"."""
    if task not in EMBEDDED_TASKS:
        raise ValueError(f"unknown embedded task {task!r}; known: {', '.join(EMBEDDED_TASKS)}")
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} of {task}; known: {', '.join(SPLITS)}")
    labels = _balanced_labels(task, split)
    ranks = _ranks_within_class(labels)
    draw = _DRAWERS[task]
    images = np.stack(
        [
            draw(split, int(label), int(rank), _generator(task, split, index))
            for index, (label, rank) in enumerate(zip(labels, ranks, strict=True))
        ]
    )
    return images, labels


def digit_instances(split: str) -> tuple[npt.NDArray[np.int64], ...]:
    """For each class, the indices into scikit-learn's 1,797 digits that this split may show."""
    return tuple(order[_DIGITS_PER_CLASS[split]] for order in _shuffled_digits_by_class())


def _generator(task: str, split: str, index: int) -> np.random.Generator:
    revision = EMBEDDED_TASKS[task].revision
    key = [zlib.crc32(task.encode()), zlib.crc32(split.encode()), revision, index]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _balanced_labels(task: str, split: str) -> LabelArray:
    record = EMBEDDED_TASKS[task]
    images = {"train800": record.train, "val200": record.val, "test": record.test}[split]
    shuffled = _generator(task, f"{split}/labels", 0).permutation(images)
    return shuffled.astype(np.int64) % record.classes


def _ranks_within_class(labels: LabelArray) -> LabelArray:
    """For each image, how many images of its class come before it: [n]."""
    return np.array([np.count_nonzero(labels[:i] == label) for i, label in enumerate(labels)], dtype=np.int64)


@cache
def _digit_pictures() -> tuple[FloatArray, LabelArray]:
    """scikit-learn's bundled digits: opacity in [0, 1], [1797, 8, 8], and labels [1797]."""
    from sklearn.datasets import load_digits  # slow to import, needed by one task only

    bunch = load_digits()
    return bunch.images / 16.0, bunch.target.astype(np.int64)


@cache
def _shuffled_digits_by_class() -> tuple[LabelArray, ...]:
    _, labels = _digit_pictures()
    rng = _generator("digits", "instances", 0)
    return tuple(rng.permutation(np.flatnonzero(labels == digit)) for digit in range(10))


def _draw_digit(split: str, label: int, rank: int, rng: np.random.Generator) -> ImageArray:
    pictures, _ = _digit_pictures()
    instances = digit_instances(split)[label]
    height, width = (int(side) for side in rng.integers(17, 25, 2))
    strokes = enlarged(pictures[instances[rank % len(instances)]], height, width)
    opacity = np.clip((strokes - 0.15) * 1.8, 0, 1)
    top, left = int(rng.integers(IMAGE_SIZE - height + 1)), int(rng.integers(IMAGE_SIZE - width + 1))
    mask = np.zeros((IMAGE_SIZE, IMAGE_SIZE))
    mask[top : top + height, left : left + width] = opacity
    image = value_noise(rng)
    draw_lines(image, rng, most=3)
    lay(image, mask, contrasting_colour(image, rng))
    return as_bytes(image, rng)


def _draw_location(split: str, label: int, rank: int, rng: np.random.Generator) -> ImageArray:
    low, high = _LOCATION_RANGE_PX
    bin_width = (high - low) / EMBEDDED_TASKS["location"].classes
    x = low + (label + rng.uniform(0.1, 0.9)) * bin_width
    sprite = random_sprite(x, rng.uniform(low, high), rng.uniform(3.0, 6.0), rng)
    return _scene([sprite], rng, most_lines=3)


def _draw_count(split: str, label: int, rank: int, rng: np.random.Generator) -> ImageArray:
    sprites: list[Sprite] = []
    largest = 4.5
    while len(sprites) < label + 1:
        radius = rng.uniform(2.2, largest)
        for _ in range(_MOST_PLACING_TRIES):
            x, y = rng.uniform(radius, IMAGE_SIZE - radius, 2)
            if all(np.hypot(x - other.x, y - other.y) > radius + other.radius + 0.5 for other in sprites):
                sprites.append(random_sprite(x, y, radius, rng))
                break
        else:
            largest = 2.2 + (largest - 2.2) / 2  # crowded: go on with smaller ones
    return _scene(sprites, rng, most_lines=2)


def _scene(sprites: list[Sprite], rng: np.random.Generator, most_lines: int) -> ImageArray:
    image = value_noise(rng)
    draw_lines(image, rng, most_lines)
    ground = image.copy()
    for sprite in sprites:
        lay(image, sprite_mask(sprite), contrasting_colour(ground, rng))
    return as_bytes(image, rng)


_DRAWERS: Mapping[str, Callable[[str, int, int, np.random.Generator], ImageArray]] = {
    "digits": _draw_digit,
    "location": _draw_location,
    "count": _draw_count,
}
