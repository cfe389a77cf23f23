"""Grounds of the downstream tasks: value noise and line segments, which pre-training images do not have.

Everything is float64 numpy in [0, 1], drawn from the generator that is handed in.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

IMAGE_SIZE = 32
_AXIS = np.arange(IMAGE_SIZE) + 0.5


@lru_cache(maxsize=64)
def interpolation_matrix(source: int, target: int) -> FloatArray:
    """Linear interpolation of `source` samples at `target` centres, edges repeated: [target, source]."""
    position = (np.arange(target) + 0.5) / target * source - 0.5
    return np.maximum(0.0, 1.0 - np.abs(np.clip(position, 0, source - 1)[:, None] - np.arange(source)))


def enlarged(picture: FloatArray, height: int, width: int) -> FloatArray:
    """Bilinear resize of [h, w] to [height, width]."""
    rows, columns = picture.shape
    return interpolation_matrix(rows, height) @ picture @ interpolation_matrix(columns, width).T


def value_noise(rng: np.random.Generator) -> FloatArray:
    """Two octaves of smoothly interpolated random values between two colours: [32, 32, 3]."""
    cells = int(rng.integers(3, 7))
    coarse = enlarged(rng.random((cells, cells)), IMAGE_SIZE, IMAGE_SIZE)
    fine = enlarged(rng.random((3 * cells, 3 * cells)), IMAGE_SIZE, IMAGE_SIZE)
    field = (0.65 * coarse + 0.35 * fine)[..., None]
    first, second = rng.random((2, 3))
    return first + (second - first) * field


def lay(image: FloatArray, mask: FloatArray, colour: FloatArray) -> None:
    """Paints `colour` [3] over `image` [32, 32, 3] in place, with opacity `mask` [32, 32]."""
    image += mask[..., None] * (colour - image)


def draw_lines(image: FloatArray, rng: np.random.Generator, most: int) -> None:
    """Lays 1 to `most` straight segments of random colour, 6 to 20 pixels long, about a pixel wide."""
    for _ in range(int(rng.integers(1, most + 1))):
        x, y = rng.uniform(0, IMAGE_SIZE, 2)
        angle, length, width = rng.uniform(0, math.pi), rng.uniform(6, 20), rng.uniform(0.4, 0.9)
        dx, dy = _AXIS - x, _AXIS[:, None] - y
        along = np.clip(math.cos(angle) * dx + math.sin(angle) * dy, -length / 2, length / 2)
        distance = np.hypot(dx - math.cos(angle) * along, dy - math.sin(angle) * along)
        lay(image, np.clip(width + 0.5 - distance, 0, 1), rng.random(3))


def contrasting_colour(ground: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Of three random colours [3], the one farthest from the mean of `ground` [32, 32, 3]."""
    candidates = rng.random((3, 3))
    distance = np.abs(candidates - ground.mean(axis=(0, 1))).sum(axis=1)
    return candidates[int(distance.argmax())]


def as_bytes(image: FloatArray, rng: np.random.Generator, noise: float = 0.04) -> npt.NDArray[np.uint8]:
    """Adds Gaussian pixel noise (standard deviation `noise`) and rounds to 8 bits."""
    noisy = image + noise * rng.standard_normal(image.shape)
    return np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8)
