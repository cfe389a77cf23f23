"""The shapes of the pre-training images: radial contours, glyphs of strokes and iterated-function fractals.

Every shape class is a formula with parameters drawn once from a fixed seed; each class has a few variants
(jittered parameters). They are kept as small masks that the scenes rotate, stretch and scale.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

CONTOURS, GLYPHS, FRACTALS = 40, 56, 32
SHAPE_CLASSES = CONTOURS + GLYPHS + FRACTALS
VARIANTS = 6
MASK_SIZE = 20
_SUPERSAMPLING = 2
_FINE = MASK_SIZE * _SUPERSAMPLING
_SHAPES_SEED = 20_260_101


@cache
def shape_masks() -> Tensor:
    """Opacity in [0, 1] of each class and variant (read only): [SHAPE_CLASSES, VARIANTS, MASK_SIZE, MASK_SIZE]."""
    generator = torch.Generator().manual_seed(_SHAPES_SEED)
    fine = torch.cat([_contours(generator), _glyphs(generator), _fractals(generator)])
    coarse = torch.nn.functional.avg_pool2d(fine.flatten(0, 1)[:, None], _SUPERSAMPLING)
    return coarse.reshape(SHAPE_CLASSES, VARIANTS, MASK_SIZE, MASK_SIZE)


def _pixel_centres() -> tuple[Tensor, Tensor]:
    """x and y of the fine mask's pixels in [-1, 1], each [_FINE, _FINE]."""
    axis = (torch.arange(_FINE) + 0.5) / _FINE * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


def _jittered(parameters: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """VARIANTS noisy copies of per-class parameters: [classes, ...] -> [classes, VARIANTS, ...]."""
    repeated = parameters[:, None].expand(-1, VARIANTS, *parameters.shape[1:])
    return repeated + amount * torch.randn(repeated.shape, generator=generator)


def _contours(generator: torch.Generator) -> Tensor:
    """Closed curves r(angle) = 1 + sum of five harmonics; the second half of the classes are rings."""
    harmonics = torch.arange(1, 6)
    amplitude = torch.randn(CONTOURS, 5, generator=generator) * 0.45 / harmonics.sqrt()
    phase = torch.rand(CONTOURS, 5, generator=generator) * 2 * math.pi
    amplitude, phase = _jittered(amplitude, 0.03, generator), _jittered(phase, 0.08, generator)
    x, y = _pixel_centres()
    angle, radius = torch.atan2(y, x), torch.hypot(x, y)
    waves = torch.cos(harmonics[:, None, None] * angle + phase[..., None, None])
    outline = (1 + (amplitude[..., None, None] * waves).sum(2)).clamp_min(0.25)
    outline = outline / outline.amax(dim=(-2, -1), keepdim=True) * 0.95
    inside = torch.sigmoid((outline - radius) * 30)
    hole = torch.sigmoid((outline - 0.3 - radius) * 30)
    ring = (torch.arange(CONTOURS) >= CONTOURS // 2)[:, None, None, None]
    return torch.where(ring, inside - hole, inside).clamp(0, 1)


def _glyphs(generator: torch.Generator) -> Tensor:
    """Smooth strokes through five random points, as handwriting has them; some classes are closed."""
    points = torch.rand(GLYPHS, 5, 2, generator=generator) * 1.6 - 0.8
    closed = torch.rand(GLYPHS, generator=generator) < 0.4
    points[closed, 4] = points[closed, 0]
    points = _jittered(points, 0.09, generator).clamp(-0.85, 0.85)
    curve = _catmull_rom(points)
    start, step = curve[:, :, :-1, None, :], (curve[:, :, 1:] - curve[:, :, :-1])[:, :, :, None, :]
    x, y = _pixel_centres()
    pixel = torch.stack([x, y], -1).reshape(-1, 2)
    along = ((pixel - start) * step).sum(-1) / (step * step).sum(-1).clamp_min(1e-6)
    distance = (pixel - start - along.clamp(0, 1)[..., None] * step).norm(dim=-1).amin(2)
    width = 0.10 + 0.10 * torch.rand(GLYPHS, VARIANTS, 1, generator=generator)
    return torch.sigmoid((width - distance) * 25).reshape(GLYPHS, VARIANTS, _FINE, _FINE)


def _catmull_rom(points: Tensor, pieces: int = 5) -> Tensor:
    """A Catmull-Rom spline through points [..., n, 2], cut into `pieces` chords per interval."""
    padded = torch.cat([points[..., :1, :], points, points[..., -1:, :]], dim=-2)
    p0, p1, p2, p3 = (padded[..., i : padded.shape[-2] - 3 + i, :] for i in range(4))
    square, cube = 2 * p0 - 5 * p1 + 4 * p2 - p3, 3 * p1 - p0 - 3 * p2 + p3
    steps = [k / pieces for k in range(pieces)]
    samples = [0.5 * (2 * p1 + (p2 - p0) * t + square * t**2 + cube * t**3) for t in steps]
    curve = torch.stack(samples, dim=-2).flatten(-3, -2)
    return torch.cat([curve, points[..., -1:, :]], dim=-2)


def _fractals(generator: torch.Generator) -> Tensor:
    """Attractors of three random contracting affine maps, by the chaos game (1,500 points)."""
    turn = torch.rand(FRACTALS, 3, generator=generator) * 2 * math.pi
    shrink = 0.40 + 0.25 * torch.rand(FRACTALS, 3, generator=generator)
    shift = torch.rand(FRACTALS, 3, 2, generator=generator) * 1.6 - 0.8
    turn, shift = _jittered(turn, 0.06, generator), _jittered(shift, 0.05, generator)
    shrink = shrink[:, None].expand_as(turn)
    cos, sin = shrink * turn.cos(), shrink * turn.sin()
    matrix = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2).flatten(0, 1)
    shift = shift.flatten(0, 1)
    row = torch.arange(len(matrix))[:, None]
    point = torch.zeros(len(matrix), 1500, 2)
    for _ in range(14):
        choice = torch.randint(3, point.shape[:2], generator=generator)
        point = (matrix[row, choice] @ point[..., None])[..., 0] + shift[row, choice]
    low, high = point.amin(1, keepdim=True), point.amax(1, keepdim=True)
    point = (point - (low + high) / 2) / (high - low).amax(-1, keepdim=True) * 1.9
    cell = ((point + 1) / 2 * _FINE).long().clamp(0, _FINE - 1)
    hits = torch.zeros(len(matrix), _FINE * _FINE)
    hits.scatter_add_(1, cell[..., 1] * _FINE + cell[..., 0], torch.ones(cell.shape[:2]))
    blurred = torch.nn.functional.avg_pool2d(hits.reshape(-1, 1, _FINE, _FINE), 3, stride=1, padding=1)
    return (blurred * 1.5).clamp(0, 1).reshape(FRACTALS, VARIANTS, _FINE, _FINE)
