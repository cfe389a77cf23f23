"""Random parts of images of their own shapes, brought to input size in batches on the device.

The boxes are torchvision's (`RandomResizedCrop.get_params`), the resizing is antialiased as Pillow's: a part is cut out
first, so no pixel outside it counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from workers.data.stocks import Images

SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
TRIES = 10


@dataclass(frozen=True)
class Boxes:
    """One box per image: [n] each, whole pixels."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor


def random_boxes(heights: Tensor, widths: Tensor, draws: Generator) -> Boxes:
    """A box for each image of those heights and widths [n], as `boxes_of` makes it of fresh draws."""
    n = len(heights)
    areas = torch.empty(n, TRIES).uniform_(*SCALE, generator=draws)
    log_ratios = torch.empty(n, TRIES).uniform_(math.log(RATIO[0]), math.log(RATIO[1]), generator=draws)
    return boxes_of(heights, widths, (areas, log_ratios, torch.rand(2, n, generator=draws)))


def boxes_of(heights: Tensor, widths: Tensor, drawn: tuple[Tensor, Tensor, Tensor]) -> Boxes:
    """Area 0.08 to 1 of the image, ratio 3/4 to 4/3: the first of ten tries that fits, else torchvision's central box.

    `drawn`: shares of the area and logarithms of the ratio [n, 10], the place in [0, 1) [2, n]. Computed in the type of
    `heights`; float64 gives torchvision's boxes for the same draws. float32, which squashed recipes have used from the
    start, differs by a pixel in about one of 25,000.
    """
    shares, log_ratios, place = (drawn[0].to(heights.dtype), drawn[1], drawn[2].to(heights.dtype))
    area, ratio = shares * (heights * widths)[:, None], log_ratios.exp().to(heights.dtype)
    tried_widths, tried_heights = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (tried_widths <= widths[:, None]) & (tried_heights <= heights[:, None])
    fits &= (tried_widths > 0) & (tried_heights > 0)
    first, any_fits = fits.int().argmax(dim=1, keepdim=True), fits.any(dim=1)
    central_height = torch.minimum(heights, (widths / RATIO[0]).round())
    central_width = torch.minimum(widths, (heights * RATIO[1]).round())
    height = torch.where(any_fits, tried_heights.gather(1, first).squeeze(1), central_height)
    width = torch.where(any_fits, tried_widths.gather(1, first).squeeze(1), central_width)
    drawn_top, drawn_left = (place[0] * (heights - height + 1)).floor(), (place[1] * (widths - width + 1)).floor()
    top = torch.where(any_fits, drawn_top, ((heights - height) / 2).floor())
    left = torch.where(any_fits, drawn_left, ((widths - width) / 2).floor())
    return Boxes(top, left, height, width)


def shifted_boxes(heights: Tensor, widths: Tensor, size: int, draws: Generator) -> Boxes:
    """A size x size box anywhere in each image [n], as torchvision's RandomCrop; no image is smaller."""
    place = torch.rand(2, len(heights), generator=draws).to(heights.dtype)
    side = torch.full_like(heights, size)
    return Boxes((place[0] * (heights - side + 1)).floor(), (place[1] * (widths - side + 1)).floor(), side, side)


def shapes_of(images: Images) -> tuple[Tensor, Tensor]:
    """Heights and widths [n], float64."""
    shapes = torch.tensor([image.shape[:2] for image in images], dtype=torch.float64)
    return shapes[:, 0], shapes[:, 1]


def resized_crops(images: Images, boxes: Boxes, size: int, interpolation: str, device: torch.device) -> Tensor:
    """The boxes of uint8 images [height, width, 3] as floats in [0, 1]: [n, 3, size, size] on the device.

    Only the boxes' pixels travel, in one copy; each box is resized by one call, since all have shapes of their own.
    """
    edges = torch.stack([boxes.top, boxes.top + boxes.height, boxes.left, boxes.left + boxes.width], dim=1)
    cut = [
        image[top:bottom, left:right]
        for image, (top, bottom, left, right) in zip(images, edges.long().tolist(), strict=True)
    ]
    pixels = torch.from_numpy(np.concatenate([part.reshape(-1) for part in cut])).to(device)
    resized = torch.empty((len(cut), 3, size, size), device=device)
    parts = pixels.split([part.size for part in cut])
    for into, flat, part in zip(resized, parts, cut, strict=True):
        unit = flat.view(part.shape).permute(2, 0, 1)[None].float().div_(255)
        if part.shape[:2] != (size, size):
            unit = functional.interpolate(
                unit, size=(size, size), mode=interpolation, antialias=True, align_corners=False
            )
        into.copy_(unit[0])
    return resized.clamp_(0, 1)  # bicubic overshoots
