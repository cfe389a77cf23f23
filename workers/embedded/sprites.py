"""Five flat shapes for the location and count tasks; none of them is a pre-training shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.embedded.clutter import IMAGE_SIZE, FloatArray

BoolArray = npt.NDArray[np.bool_]

_SUPERSAMPLING = 3
_FINE_AXIS = ((np.arange(IMAGE_SIZE * _SUPERSAMPLING) + 0.5) / _SUPERSAMPLING).reshape(IMAGE_SIZE, -1)
_REACH = 1.25  # no shape extends farther than this many radii


@dataclass(frozen=True)
class Sprite:
    """A shape (index into SHAPES) with its centre and radius in pixels and its turn in radians."""

    shape: int
    x: float
    y: float
    radius: float
    turn: float


def _square(u: FloatArray, v: FloatArray) -> BoolArray:
    return np.maximum(np.abs(u), np.abs(v)) < 0.75


def _ellipse(u: FloatArray, v: FloatArray) -> BoolArray:
    return u**2 + (v / 0.6) ** 2 < 1


def _heart(u: FloatArray, v: FloatArray) -> BoolArray:
    x, y = 1.25 * u, 0.1 - 1.25 * v
    return (x**2 + y**2 - 1) ** 3 < x**2 * y**3


def _corner(u: FloatArray, v: FloatArray) -> BoolArray:
    box = np.maximum(np.abs(u), np.abs(v)) < 0.8
    return box & ((u < -0.2) | (v > 0.2))


def _triangle(u: FloatArray, v: FloatArray) -> BoolArray:
    return (v < 0.55) & (v > 1.7 * np.abs(u) - 1)


Shape = Callable[[FloatArray, FloatArray], BoolArray]
SHAPES: tuple[Shape, ...] = (_square, _ellipse, _heart, _corner, _triangle)


def random_sprite(x: float, y: float, radius: float, rng: np.random.Generator) -> Sprite:
    """A sprite of random shape and turn at a given place."""
    return Sprite(int(rng.integers(len(SHAPES))), x, y, radius, rng.uniform(0, 2 * math.pi))


def sprite_mask(sprite: Sprite) -> FloatArray:
    """Covered share of each pixel (3 x 3 samples): float64 [32, 32]."""
    columns, rows = (_window(centre, _REACH * sprite.radius) for centre in (sprite.x, sprite.y))
    dx = (_FINE_AXIS[columns[0] : columns[1]].reshape(-1) - sprite.x) / sprite.radius
    dy = (_FINE_AXIS[rows[0] : rows[1]].reshape(-1, 1) - sprite.y) / sprite.radius
    cos, sin = math.cos(sprite.turn), math.sin(sprite.turn)
    inside = SHAPES[sprite.shape](cos * dx + sin * dy, cos * dy - sin * dx)
    cells = inside.reshape(rows[1] - rows[0], _SUPERSAMPLING, columns[1] - columns[0], _SUPERSAMPLING)
    mask = np.zeros((IMAGE_SIZE, IMAGE_SIZE))
    mask[rows[0] : rows[1], columns[0] : columns[1]] = cells.mean(axis=(1, 3), dtype=np.float64)
    return mask


def _window(centre: float, reach: float) -> tuple[int, int]:
    """The pixels from `centre - reach` to `centre + reach` as a half-open range inside the image."""
    return max(0, math.floor(centre - reach)), min(IMAGE_SIZE, math.ceil(centre + reach))
