"""Augmentation in batches equals torchvision's, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from storage.records import Recipe
from workers.data.augment import adjusted, colour_jitter, flipped, random_resized_crop, recoloured
from workers.data.crops import random_boxes
from workers.data.mixing import mixed

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
