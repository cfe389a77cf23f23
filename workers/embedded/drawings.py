"""Pre-training images drawn by formula: textured grounds with one to eight objects, and their labels.

The idea is formula-driven supervised learning (Kataoka et al., "Pre-training without Natural Images",
IJCV 2022), here with many labels at once: a scene carries its texture, its count, its main object's shape,
position, size and turn, and two maps over the patch tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from workers.embedded.drawings_shapes import SHAPE_CLASSES, VARIANTS, shape_masks

IMAGE_SIZE = 32
PATCH_SIZE = 4
TEXTURE_CLASSES = 32
MOST_OBJECTS = 8
POSITION_BINS = 20
SIZE_BINS = 8
TURN_BINS = 7
_MARGIN = 4.0
_MOST_TURN = math.radians(35)
_SMALLEST, _LARGEST = 3.4, 11.0
_MAIN_IS_CLEAR_UP_TO = 3
_GRID = IMAGE_SIZE // PATCH_SIZE
_TEXTURES_SEED = 20_260_102


@dataclass(frozen=True)
class Objects:
    """The objects of a batch; slot 0 is the main one. Pixels and radians.

    `number` [batch] falls along the batch, so that slot j exists in a prefix of it. `shape` [batch, 8],
    `centre` [batch, 8, 2] (x, y), `radius` [batch, 8], `turn` [batch, 8].
    """

    number: Tensor
    shape: Tensor
    centre: Tensor
    radius: Tensor
    turn: Tensor


@dataclass(frozen=True)
class Scenes:
    """A batch of images with its labels.

    `images` uint8 [batch, 3, 32, 32]. Class indices int64 [batch]: `texture`, `count`, `shape`, `column`,
    `row`, `size`, `turn`; the last five describe the main object, which stands out where `main_is_clear`
    (bool [batch]). `coverage` float [batch, 64]: opacity over each patch. `token_shape` int64 [batch, 64]:
    the class of the object whose centre lies in the patch, -1 for none.
    """

    images: Tensor
    texture: Tensor
    count: Tensor
    shape: Tensor
    column: Tensor
    row: Tensor
    size: Tensor
    turn: Tensor
    main_is_clear: Tensor
    coverage: Tensor
    token_shape: Tensor


class SceneDrawer:
    """Draws scenes; every random number comes from the generator given to `draw`."""

    def __init__(self) -> None:
        self._masks = shape_masks()
        generator = torch.Generator().manual_seed(_TEXTURES_SEED)
        length = 0.25 + 1.15 * torch.rand(TEXTURE_CLASSES, 4, generator=generator)
        angle = torch.rand(TEXTURE_CLASSES, 4, generator=generator) * math.pi
        self._texture_waves = torch.stack([length * angle.cos(), length * angle.sin()], -1)
        self._axis = torch.arange(IMAGE_SIZE) + 0.5

    def draw(self, batch: int, generator: torch.Generator) -> Scenes:
        """A batch of scenes; equal generators give equal scenes."""
        objects = _place(batch, generator)
        texture = torch.randint(TEXTURE_CLASSES, (batch,), generator=generator)
        images = self._ground(texture, generator)
        opacity = self._paint(images, objects, generator)
        noise = images.std(dim=(1, 2, 3), keepdim=True) * 0.35 * _uniform((batch, 1, 1, 1), generator)
        images += noise * torch.randn(images.shape, generator=generator)
        x, y = objects.centre[:, 0].unbind(-1)
        return Scenes(
            images=(images.clamp(0, 1) * 255).round().to(torch.uint8),
            texture=texture,
            count=objects.number - 1,
            shape=objects.shape[:, 0],
            column=_bins(x, _MARGIN, IMAGE_SIZE - _MARGIN, POSITION_BINS),
            row=_bins(y, _MARGIN, IMAGE_SIZE - _MARGIN, POSITION_BINS),
            size=_bins(objects.radius[:, 0].log(), math.log(_SMALLEST), math.log(_LARGEST), SIZE_BINS),
            turn=_bins(objects.turn[:, 0], -_MOST_TURN, _MOST_TURN, TURN_BINS),
            main_is_clear=objects.number <= _MAIN_IS_CLEAR_UP_TO,
            coverage=functional.avg_pool2d(opacity[:, None], PATCH_SIZE).flatten(1),
            token_shape=_token_shapes(objects),
        )

    def _ground(self, texture: Tensor, generator: torch.Generator) -> Tensor:
        """Class texture plus six free waves, mapped to two colours: float [batch, 3, 32, 32]."""
        batch = len(texture)
        free = torch.randn(batch, 6, 2, generator=generator) * 0.35
        waves = torch.cat([self._texture_waves[texture], free], 1)
        strength = 0.4 + _uniform((batch, 10), generator)
        strength[:, 4:] *= 0.8 * _uniform((batch, 1), generator)
        phase = _uniform((batch, 10), generator) * 2 * math.pi
        across = waves[..., :1] * self._axis + phase[..., None]
        down = waves[..., 1:] * self._axis
        columns = torch.cat([across.cos(), across.sin()], 1) * torch.cat([strength, strength], 1)[..., None]
        rows = torch.cat([down.cos(), -down.sin()], 1)
        field = torch.sigmoid((rows.transpose(1, 2) @ columns) * 0.9)[:, None]
        first, second = _uniform((2, batch, 3, 1, 1), generator)
        second = first + (second - first) * (0.2 + 0.8 * _uniform((batch, 1, 1, 1), generator))
        return first + (second - first) * field

    def _paint(self, images: Tensor, objects: Objects, generator: torch.Generator) -> Tensor:
        """Lays the objects on `images` in place, the main one last; returns their opacity [batch, 32, 32]."""
        batch = len(images)
        ground = images.mean(dim=(2, 3))
        variant = torch.randint(VARIANTS, (batch, MOST_OBJECTS), generator=generator)
        candidates = _uniform((2, batch, MOST_OBJECTS, 3), generator)
        contrast = (candidates - ground[:, None]).abs().sum(-1, keepdim=True)
        colour = torch.where(contrast[0] > contrast[1], candidates[0], candidates[1])
        stretch = 0.75 + 0.5 * _uniform((batch, MOST_OBJECTS), generator)
        crispness = 1 + 2 * _uniform((batch, MOST_OBJECTS, 1, 1), generator)
        strongest = 0.7 + 0.3 * _uniform((batch, MOST_OBJECTS, 1, 1), generator)
        opacity = torch.zeros(batch, IMAGE_SIZE, IMAGE_SIZE)
        for slot in reversed(range(MOST_OBJECTS)):
            here = slice(0, int((objects.number > slot).sum()))
            if here.stop == 0:
                continue
            grid = self._source_grid(objects, slot, here, stretch)
            source = self._masks[objects.shape[here, slot], variant[here, slot]][:, None]
            mask = functional.grid_sample(source, grid, align_corners=False)[:, 0]
            mask = ((mask - 0.4) * crispness[here, slot] + 0.4).clamp(0, 1) * strongest[here, slot]
            images[here].lerp_(colour[here, slot, :, None, None], mask[:, None].expand(-1, 3, -1, -1))
            opacity[here] = torch.maximum(opacity[here], mask)
        return opacity

    def _source_grid(self, objects: Objects, slot: int, here: slice, stretch: Tensor) -> Tensor:
        """Where each image pixel lies in the mask of its object, in [-1, 1]: [images, 32, 32, 2]."""
        radius, turn, wide = objects.radius[here, slot], objects.turn[here, slot], stretch[here, slot]
        dx = (self._axis - objects.centre[here, slot, :1])[:, None, :]
        dy = (self._axis - objects.centre[here, slot, 1:])[:, :, None]
        cos, sin = turn.cos()[:, None, None], turn.sin()[:, None, None]
        across = (cos * dx + sin * dy) / (radius * wide.clamp_max(1))[:, None, None]
        down = (cos * dy - sin * dx) / (radius / wide.clamp_min(1))[:, None, None]
        return torch.stack([across, down], -1)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator)


def _bins(value: Tensor, low: float, high: float, bins: int) -> Tensor:
    return ((value - low) / (high - low) * bins).long().clamp(0, bins - 1)


def _place(batch: int, generator: torch.Generator) -> Objects:
    """Half of the scenes have one object of any size, the others one to eight, smaller the more there are."""
    number = torch.randint(1, MOST_OBJECTS + 1, (batch,), generator=generator)
    single = _uniform((batch,), generator) < 0.5
    number = torch.where(single, 1, number).sort(descending=True).values
    largest = torch.where(number == 1, _LARGEST, (13.0 / number.float().sqrt()).clamp_max(9.0))[:, None]
    shrink = torch.ones(batch, MOST_OBJECTS)
    few = (number <= _MAIN_IS_CLEAR_UP_TO)[:, None]
    shrink[:, 1:] = torch.where(few, 0.65, 1.0)
    spread = _uniform((batch, MOST_OBJECTS), generator)
    spread = torch.where(number[:, None] == 1, spread, 0.5 + 0.5 * spread)
    radius = ((_SMALLEST + (largest - _SMALLEST) * spread) * shrink).clamp_min(_SMALLEST)
    return Objects(
        number=number,
        shape=torch.randint(SHAPE_CLASSES, (batch, MOST_OBJECTS), generator=generator),
        centre=_spread_centres(batch, generator),
        radius=radius,
        turn=(_uniform((batch, MOST_OBJECTS), generator) * 2 - 1) * _MOST_TURN,
    )


def _spread_centres(batch: int, generator: torch.Generator, tries: int = 8) -> Tensor:
    """Each centre is the one of `tries` candidates that is farthest from its predecessors: [batch, 8, 2]."""
    candidates = _MARGIN + (IMAGE_SIZE - 2 * _MARGIN) * _uniform((batch, MOST_OBJECTS, tries, 2), generator)
    chosen = [candidates[:, 0, 0]]
    for slot in range(1, MOST_OBJECTS):
        distance = torch.cdist(candidates[:, slot], torch.stack(chosen, 1)).amin(-1)
        best = distance.argmax(-1)
        chosen.append(candidates[torch.arange(batch), slot, best])
    return torch.stack(chosen, 1)


def _token_shapes(objects: Objects) -> Tensor:
    """The shape class of the object centred in each patch, -1 where there is none: int64 [batch, 64]."""
    batch = len(objects.number)
    cell = (objects.centre / PATCH_SIZE).long().clamp(0, _GRID - 1)
    token = cell[..., 1] * _GRID + cell[..., 0]
    labels = torch.full((batch, _GRID * _GRID), -1)
    for slot in reversed(range(MOST_OBJECTS)):  # the main object wins a shared patch
        here = objects.number > slot
        labels[here, token[here, slot]] = objects.shape[here, slot]
    return labels
