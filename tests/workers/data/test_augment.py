"""Augmentation in batches equals torchvision's, image by image."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data.mixup import mixup_target
from timm.loss import SoftTargetCrossEntropy
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as pillow
from torchvision.transforms.v2 import functional as reference

from storage.records import Recipe
from workers.data.augment import adjusted, colour_jitter, flipped, jittered, random_resized_crop, recoloured
from workers.data.crops import random_boxes
from workers.data.mixing import mixed

BAR_LEVELS = 2.0  # of 255
AMOUNTS = torch.tensor([-0.4, -0.1, 0.05, 0.4])


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("name", "one"),
    [
        ("brightness", lambda image, amount: reference.adjust_brightness(image, 1 + amount)),
        ("contrast", lambda image, amount: reference.adjust_contrast(image, 1 + amount)),
        ("saturation", lambda image, amount: reference.adjust_saturation(image, 1 + amount)),
        ("hue", reference.adjust_hue),
    ],
)
def test_each_adjustment_equals_torchvisions(images, name, one):
    found = adjusted(images, name, AMOUNTS)
    for image, amount, result in zip(images, AMOUNTS.tolist(), found, strict=True):
        assert torch.allclose(result, one(image, amount), atol=2e-5)


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """Two photographs, squashed to 224 x 224."""
    names = ("china.jpg", "flower.jpg")
    return [Image.fromarray(load_sample_image(name)).resize((224, 224), Image.Resampling.BICUBIC) for name in names]


def _tensor(images: list[Image.Image]) -> torch.Tensor:
    return torch.stack([pillow.to_tensor(image) for image in images])


def _levels(found: torch.Tensor, expected: Image.Image) -> float:
    """Mean absolute difference in 8-bit levels."""
    return 255 * (found - pillow.to_tensor(expected)).abs().mean().item()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_crops_of_squashed_images_are_pillows_within_two_levels(photos, interpolation):
    images, mode = photos * 16, InterpolationMode(interpolation)
    found = random_resized_crop(_tensor(images), interpolation, torch.Generator().manual_seed(4))
    sides = torch.full((len(images),), 224.0)
    boxes = random_boxes(sides, sides, torch.Generator().manual_seed(4))
    for index, image in enumerate(images):
        box = [int(side[index]) for side in (boxes.top, boxes.left, boxes.height, boxes.width)]
        assert _levels(found[index], pillow.resized_crop(image, *box, [224, 224], mode)) <= BAR_LEVELS


def test_jitter_in_a_given_order_is_pillows_within_two_levels(photos):
    orders = torch.tensor(list(permutations(range(4))))
    draws = torch.Generator().manual_seed(5)
    names = ("brightness", "contrast", "saturation", "hue")
    amounts = {name: torch.empty(24).uniform_(-1, 1, generator=draws) * 0.4 for name in names}
    amounts["hue"] /= 4
    found = jittered(_tensor(photos * 12), torch.ones(24, dtype=torch.bool), orders, amounts)
    for index, order in enumerate(orders.tolist()):
        image = (photos * 12)[index]
        for name in (names[number] for number in order):
            amount = amounts[name][index].item() + (name != "hue")
            image = getattr(pillow, f"adjust_{name}")(image, amount)
        assert _levels(found[index], image) <= BAR_LEVELS, (order, index)


def test_a_recoloured_view_is_flip_jitter_and_grey_in_the_release_s_order(photos):
    """The same draws, replayed: each decision is read off the generator, and Pillow does what it says."""
    found = recoloured(_tensor(photos * 16), torch.Generator().manual_seed(6))
    draws = torch.Generator().manual_seed(6)
    is_flipped, is_jittered = (torch.rand(32, generator=draws) < share for share in (0.5, 0.8))
    order = torch.rand(32, 4, generator=draws).argsort(dim=1)
    ranges = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    amounts = {name: torch.empty(32).uniform_(-most, most, generator=draws) for name, most in ranges.items()}
    is_grey = torch.rand(32, generator=draws) < 0.2
    for index, image in enumerate(photos * 16):
        expected = pillow.hflip(image) if is_flipped[index] else image
        for name in (list(ranges)[number] for number in order[index].tolist() if is_jittered[index]):
            amount = amounts[name][index].item() + (name != "hue")
            expected = getattr(pillow, f"adjust_{name}")(expected, amount)
        expected = pillow.rgb_to_grayscale(expected, 3) if is_grey[index] else expected
        assert _levels(found[index], expected) <= BAR_LEVELS, index


@pytest.mark.parametrize("recipe", [Recipe(mixup_alpha=0.8), Recipe(cutmix_alpha=1.0)])
def test_mixing_and_smoothing_give_timms_loss(images, recipe):
    """Batch mode: each image with its mirror place; the share that was drawn is read off the targets."""
    labels = torch.tensor([0, 2, 1, 1])
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    for seed in range(12):
        found, targets = mixed(images, labels, 3, recipe, np.random.default_rng(seed))
        share = targets[0, 0].item()
        is_mirrored = (found == images.flip(0)).all(dim=(0, 1))
        if recipe.cutmix_alpha:
            rows, columns = is_mirrored.any(dim=1), is_mirrored.any(dim=0)
            assert torch.equal(is_mirrored, rows[:, None] & columns), "a box, the same one in every image"
            assert torch.equal(found, torch.where(is_mirrored, images.flip(0), images))
            assert share == pytest.approx(1 - is_mirrored.float().mean().item())
        else:
            assert torch.allclose(found, images * share + images.flip(0) * (1 - share), atol=1e-6)
        theirs = SoftTargetCrossEntropy()(logits, mixup_target(labels, 3, share, smoothing=0.1))
        assert torch.allclose(functional.cross_entropy(logits, targets, label_smoothing=0.1), theirs, atol=1e-6)


def test_grey_images_have_no_hue_to_turn():
    plain = torch.full((2, 3, 4, 4), 0.3)
    assert torch.allclose(adjusted(plain, "hue", torch.tensor([0.1, -0.1])), plain)


def test_jitter_touches_the_chosen_images_only(images):
    chosen = torch.tensor([True, False, True, False])
    found = colour_jitter(images, chosen, torch.Generator().manual_seed(0))
    assert [torch.equal(a, b) for a, b in zip(found, images, strict=True)] == [False, True, False, True]


def test_a_crop_equals_torchvisions_resized_crop_inside_the_box():
    ramp = torch.arange(32.0)[None, None, None, :].expand(64, 3, 32, 32) / 31
    found = random_resized_crop(ramp, "bilinear", torch.Generator().manual_seed(0))
    spans = (found[:, 0, 16, -1] - found[:, 0, 16, 0]) * 31
    steps = found[:, 0, 16, 1:] - found[:, 0, 16, :-1]
    assert (steps >= -1e-6).all(), "left stays left"
    assert spans.min() > 4, "area 0.08 at ratio 3/4 is 8 pixels wide, and the outer half pixels blend"
    assert spans.max() <= 31
    assert spans.std() > 3


def test_the_share_of_area_is_spread_over_the_published_range(images):
    side = torch.full((4000,), 224.0)
    boxes = random_boxes(side, side, torch.Generator().manual_seed(0))
    height, width = boxes.height, boxes.width
    area, ratio = height * width / 224**2, width / height
    assert area.min() >= 0.075
    assert area.max() <= 1.0
    assert 0.45 < area.mean() < 0.56, "uniform in 0.08 to 1, less what did not fit"
    assert ratio.min() >= 0.73
    assert ratio.max() <= 1.37


def test_flips_mirror_half_of_the_images():
    ramp = torch.arange(8.0)[None, None, None, :].expand(400, 3, 8, 8)
    found = flipped(ramp, torch.Generator().manual_seed(0))
    is_mirrored = found[:, 0, 0, 0] == 7
    assert torch.equal(found[is_mirrored], ramp[is_mirrored].flip(-1))
    assert 160 < is_mirrored.sum() < 240


def test_a_contrastive_view_is_repeatable_and_stays_in_range(images):
    many = images.repeat(32, 1, 1, 1)
    one = recoloured(many, torch.Generator().manual_seed(1))
    assert torch.equal(one, recoloured(many, torch.Generator().manual_seed(1)))
    assert one.min() >= 0
    assert one.max() <= 1
    is_grey = (one - one.mean(dim=1, keepdim=True)).abs().amax(dim=(1, 2, 3)) < 1e-6
    assert 10 < is_grey.sum() < 50, "a fifth of 128"


@pytest.mark.parametrize("recipe", [Recipe(mixup_alpha=0.8), Recipe(cutmix_alpha=1.0)])
def test_mixed_targets_are_the_shares_of_the_pixels(recipe):
    images = torch.stack([torch.zeros(3, 20, 20), torch.ones(3, 20, 20)])
    for seed in range(20):
        found, targets = mixed(images, torch.tensor([0, 1]), 2, recipe, np.random.default_rng(seed))
        assert torch.allclose(targets.sum(dim=1), torch.ones(2))
        assert found[0].mean().item() == pytest.approx(targets[0, 1].item(), abs=1e-5)


def test_mixing_happens_with_its_probability(images):
    recipe = Recipe(mixup_alpha=1.0, mixup_prob=0.25)
    draws = np.random.default_rng(0)
    labels = torch.arange(4)
    is_mixed = [not torch.equal(mixed(images, labels, 4, recipe, draws)[0], images) for _ in range(400)]
    assert 70 < sum(is_mixed) < 130
