"""Random crops: torchvision's boxes, and Pillow's pixels within 2/255 on photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as reference

from storage.records import BackboneRef
from workers.data.crops import RATIO, SCALE, TRIES, boxes_of, random_boxes, resized_crops, shapes_of, shifted_boxes
from workers.data.forms import LARGE, crop_names, in_form

CPU = torch.device("cpu")
BAR_LEVELS = 2.0  # of 255


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    """Three shapes: 427 x 640, upright, and one too small for its crops not to be enlarged."""
    china, flower = load_sample_image("china.jpg"), load_sample_image("flower.jpg")
    upright = np.ascontiguousarray(flower.transpose(1, 0, 2))
    return [china, upright, np.asarray(Image.fromarray(flower).resize((160, 107)))]


@pytest.mark.parametrize("shape", [(375, 500), (500, 375), (224, 224), (100, 700), (640, 90), (12, 9)])
def test_boxes_have_torchvisions_sizes_for_the_same_uniform_draws(shape):
    image = torch.zeros(3, *shape)
    sides = [torch.tensor([float(side)], dtype=torch.float64) for side in shape]
    for seed in range(60):
        torch.manual_seed(seed)
        top, left, height, width = RandomResizedCrop.get_params(image, list(SCALE), list(RATIO))
        found = boxes_of(*sides, _drawn_like_torchvision(seed))
        assert (found.height.item(), found.width.item()) == (height, width)
        assert 0 <= found.top.item() <= shape[0] - height
        assert 0 <= found.left.item() <= shape[1] - width
        if height in shape or width in shape:  # where no try fits the box is central
            assert height < shape[0] or found.top.item() == top
            assert width < shape[1] or found.left.item() == left


def test_where_no_try_fits_the_box_is_torchvisions_central_one():
    torch.manual_seed(0)
    for shape in ((20, 900), (900, 20), (31, 700)):
        theirs = RandomResizedCrop.get_params(torch.zeros(3, *shape), [0.9, 1.0], list(RATIO))
        sides = [torch.tensor([float(side)], dtype=torch.float64) for side in shape]
        draws = (torch.full((1, TRIES), 0.95), torch.zeros(1, TRIES), torch.full((2, 1), 0.9))
        assert tuple(_box(boxes_of(*sides, draws), 0)) == theirs


def test_places_are_spread_as_torchvisions():
    image, many = torch.zeros(3, 375, 500), 4000
    torch.manual_seed(0)
    theirs = torch.tensor([RandomResizedCrop.get_params(image, list(SCALE), list(RATIO)) for _ in range(many)])
    sides = (torch.full((many,), side, dtype=torch.float64) for side in (375.0, 500.0))
    ours = random_boxes(*sides, torch.Generator().manual_seed(0))
    for column, found in enumerate((ours.top, ours.left, ours.height, ours.width)):
        values = torch.arange(500.0)[:, None]
        shares = [(side.double()[None] <= values).double().mean(dim=1) for side in (theirs[:, column], found)]
        assert (shares[0] - shares[1]).abs().max() < 1.95 * (2 / many) ** 0.5, "Kolmogorov-Smirnov at 0.1 %"


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pixels_are_those_of_torchvisions_resized_crop_on_the_same_image(photos, interpolation):
    images = photos * 8
    boxes = random_boxes(*shapes_of(images), torch.Generator().manual_seed(1))
    found = resized_crops(images, boxes, 224, interpolation, CPU)
    assert found.shape == (24, 3, 224, 224)
    for index, image in enumerate(images):
        expected = _theirs(Image.fromarray(image), _box(boxes, index), interpolation)
        assert _levels(found[index], expected) <= BAR_LEVELS / 4


def test_storing_a_large_photograph_at_512_costs_half_of_the_bar_on_average(photos):
    """The box is drawn on the stored image; Pillow resizes the same place of the file's image. Boxes narrower than 224
    stored pixels lose detail that the file has: up to 2.4 levels."""
    original = Image.fromarray(photos[0]).resize((1920, 1281), Image.Resampling.BICUBIC)
    stored = in_form(original, crop_names("0", "test", 224, BackboneRef("vit", "none"))[LARGE])
    assert stored.shape == (512, 767, 3)
    boxes = random_boxes(*shapes_of([stored] * 24), torch.Generator().manual_seed(2))
    found = resized_crops([stored] * 24, boxes, 224, "bicubic", CPU)
    levels = []
    for index in range(24):
        top, left, height, width = _box(boxes, index)
        edges = np.array([left, top, left + width, top + height]) * ([1920 / 767, 1281 / 512] * 2)
        there = original.resize((224, 224), Image.Resampling.BICUBIC, box=tuple(edges))
        levels.append(_levels(found[index], reference.to_tensor(there)))
    assert sum(levels) / len(levels) <= BAR_LEVELS / 2


def test_shifted_boxes_are_torchvisions_random_crop_bit_for_bit(photos):
    images = photos[:2] * 50
    boxes = shifted_boxes(*shapes_of(images), 224, torch.Generator().manual_seed(0))
    found = resized_crops(images, boxes, 224, "bicubic", CPU)
    for index, image in enumerate(images):
        expected = reference.to_tensor(reference.crop(Image.fromarray(image), *_box(boxes, index)))
        assert torch.equal(found[index], expected)
    assert boxes.top[::2].min() < 15
    assert boxes.top[::2].max() > 427 - 224 - 15
    assert boxes.left[::2].max() > 640 - 224 - 30


def _drawn_like_torchvision(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """`get_params` asks for one area and one ratio at a time, until a box fits."""
    torch.manual_seed(seed)
    low, high = torch.log(torch.tensor(RATIO)).tolist()
    pairs = [(torch.empty(1).uniform_(*SCALE), torch.empty(1).uniform_(low, high)) for _ in range(TRIES)]
    areas, log_ratios = (torch.cat(column)[None] for column in zip(*pairs, strict=True))
    return areas, log_ratios, torch.rand(2, 1)


def _box(boxes, index: int) -> list[int]:
    return [int(side[index]) for side in (boxes.top, boxes.left, boxes.height, boxes.width)]


def _theirs(image: Image.Image, box: list[int], interpolation: str) -> torch.Tensor:
    mode = InterpolationMode(interpolation)
    return reference.to_tensor(reference.resized_crop(image, *box, [224, 224], mode))


def _levels(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Mean absolute difference in 8-bit levels."""
    return 255 * (found - expected).abs().mean().item()
