"""Random augmentation of whole batches on the device, every choice drawn from a generator that is handed in.

Images are float [n, 3, height, width] in [0, 1]. Draws are made on the CPU (equal on every device) and follow
torchvision's transforms; each image gets its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Generator, Tensor
from torch.nn import functional

from workers.data.crops import random_boxes

_JITTER = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
_JITTER_PROB = 0.8
_GREY_PROB = 0.2
_GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # ITU-R 601, as torchvision


def flipped(images: Tensor, draws: Generator) -> Tensor:
    """Each image mirrored left-right with probability 0.5."""
    is_flipped = (torch.rand(len(images), generator=draws) < 0.5).to(images.device)
    return torch.where(is_flipped[:, None, None, None], images.flip(-1), images)


def random_resized_crop(images: Tensor, interpolation: str, draws: Generator) -> Tensor:
    """A random part of each image (`crops.random_boxes`), enlarged to the image's own size.

    The part is never larger than the image, so no antialiasing is needed.
    """
    height, width = images.shape[-2:]
    boxes = random_boxes(torch.full((len(images),), float(height)), torch.full((len(images),), float(width)), draws)
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = boxes.width / width, boxes.height / height
    theta[:, 0, 2] = (2 * boxes.left + boxes.width) / width - 1
    theta[:, 1, 2] = (2 * boxes.top + boxes.height) / height - 1
    grid = functional.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    cropped = functional.grid_sample(images, grid, mode=interpolation, padding_mode="border", align_corners=False)
    return cropped.clamp_(0, 1)  # bicubic overshoots


def recoloured(images: Tensor, draws: Generator) -> Tensor:
    """What is done to a cropped view in GPS's selection pass (release, `TwoCropTransform`): flip, colour jitter (0.4,
    0.4, 0.4, 0.1) with probability 0.8, greyscale with probability 0.2."""
    view = flipped(images, draws)
    is_jittered = torch.rand(len(view), generator=draws) < _JITTER_PROB
    view = colour_jitter(view, is_jittered, draws)
    is_grey = (torch.rand(len(view), generator=draws) < _GREY_PROB).to(view.device)
    return torch.where(is_grey[:, None, None, None], grey(view).expand_as(view), view)


def colour_jitter(images: Tensor, is_jittered: Tensor, draws: Generator) -> Tensor:
    """torchvision's ColorJitter: four adjustments per image, in an order drawn for each image; [n] bool selects."""
    n = len(images)
    order = torch.rand(n, len(_JITTER), generator=draws).argsort(dim=1)
    amounts = {name: torch.empty(n).uniform_(-amount, amount, generator=draws) for name, amount in _JITTER.items()}
    return jittered(images, is_jittered, order, amounts)


def jittered(images: Tensor, is_jittered: Tensor, order: Tensor, amounts: Mapping[str, Tensor]) -> Tensor:
    """The adjustments `amounts` (name -> [n]) of the chosen images [n]; `order` [n, 4] holds, for each image, the
    numbers of the adjustments (as `amounts` lists them) in the order in which they are made."""
    images = images.clone()
    for place in range(len(amounts)):
        for number, name in enumerate(amounts):
            chosen = (is_jittered & (order[:, place] == number)).nonzero().squeeze(1)
            if len(chosen):
                amount = amounts[name][chosen].to(images.device)
                there = chosen.to(images.device)
                images[there] = adjusted(images[there], name, amount)
    return images


def adjusted(images: Tensor, name: str, amount: Tensor) -> Tensor:
    """Brightness, contrast or saturation by the factor 1 + amount, or hue by `amount` turns; amount is [n]."""
    if name == "hue":
        return _hue_turned(images, amount)
    factor = (1 + amount)[:, None, None, None]
    if name == "brightness":
        other = torch.zeros((), device=images.device)
    elif name == "contrast":
        other = grey(images).mean(dim=(1, 2, 3), keepdim=True)
    else:
        other = grey(images)
    return (factor * images + (1 - factor) * other).clamp_(0, 1)


def grey(images: Tensor) -> Tensor:
    """Luma [n, 1, height, width]."""
    weights = torch.tensor(_GREY_WEIGHTS, device=images.device, dtype=images.dtype)
    return (images * weights[:, None, None]).sum(dim=1, keepdim=True)


def _hue_turned(images: Tensor, turns: Tensor) -> Tensor:
    """Hue moved by `turns` [n] of a full circle at equal saturation and value (HSV)."""
    value, _ = images.max(dim=1)
    chroma = value - images.min(dim=1).values
    safe = torch.where(chroma == 0, 1.0, chroma)
    red, green, blue = images.unbind(dim=1)
    sector = torch.where(
        value == red,
        ((green - blue) / safe) % 6,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = (sector / 6 + turns[:, None, None]) % 1.0
    shift = torch.tensor([5.0, 3.0, 1.0], device=images.device)[None, :, None, None]
    ramp = (shift + hue[:, None] * 6) % 6
    weight = torch.minimum(ramp, 4 - ramp).clamp(0, 1)
    return (value[:, None] - chroma[:, None] * weight).clamp_(0, 1)
