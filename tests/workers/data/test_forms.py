"""The forms in which images are kept equal what timm and torchvision make of the same file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval
from torchvision.transforms import InterpolationMode, Resize

from storage.records import BackboneRef
from workers.data.forms import CENTRE, LARGE, SHORT, EntryName, crop_names, in_form
from workers.errors import Unsupported

SHAPES = [(500, 375), (375, 501), (64, 64), (30, 90), (233, 200), (1200, 700), (225, 224)]
BACKBONE = BackboneRef("vit", "none", crop_pct=0.9)


def _image(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [224, 32])
@pytest.mark.parametrize("crop_pct", [0.875, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_centre_is_timms_evaluation_transform_bit_for_bit(size, crop_pct, interpolation):
    backbone = replace(BACKBONE, crop_pct=crop_pct, interpolation=interpolation)
    name = crop_names("0", "test", size, backbone)[CENTRE]
    transform = transforms_imagenet_eval(size, crop_pct=crop_pct, interpolation=interpolation, normalize=False)
    for shape in SHAPES:
        expected = transform(_image(*shape)).permute(1, 2, 0).numpy()
        assert np.array_equal(in_form(_image(*shape), name), expected), shape


def test_large_images_have_a_short_side_of_512_and_small_ones_their_own_size():
    name = crop_names("0", "test", 224, BACKBONE)[LARGE]
    large = in_form(_image(1200, 700), name)
    assert large.shape == (512, 877, 3)
    assert np.array_equal(large, np.asarray(Resize(512, InterpolationMode.BICUBIC)(_image(1200, 700))))
    for shape in ((500, 375), (30, 90), (512, 512)):
        assert np.array_equal(in_form(_image(*shape), name), np.asarray(_image(*shape)))


def test_inputs_larger_than_512_keep_larger_images():
    assert crop_names("0", "test", 224, BACKBONE)[LARGE].size == 512
    assert crop_names("0", "test", 518, BACKBONE)[LARGE].size == 575


@pytest.mark.parametrize("shape", SHAPES)
def test_the_short_form_has_vpts_short_side_exactly(shape):
    name = crop_names("0", "test", 224, BACKBONE)[SHORT]
    expected = Resize(256, InterpolationMode.BICUBIC)(_image(*shape))
    assert np.array_equal(in_form(_image(*shape), name), np.asarray(expected))


def test_each_form_has_an_entry_of_its_own_and_squashed_ones_keep_theirs():
    names = crop_names("0", "test", 224, BACKBONE)
    squash = EntryName("0", "test", 224, "bicubic")
    other = crop_names("0", "test", 224, replace(BACKBONE, crop_pct=0.95))
    assert len({squash.key, *(name.key for name in names.values()), other[CENTRE].key}) == 5
    assert other[LARGE].key == names[LARGE].key, "shared by backbones that crop differently"
    assert squash.key == "08544bc44e7aa3dd47ee0179", "else all nodes decode all their images again"


def test_what_would_need_borders_is_refused():
    with pytest.raises(Unsupported, match=r"crop_pct of vit is 1\.1.*set resize: squash"):
        crop_names("0", "test", 224, replace(BACKBONE, crop_pct=1.1))
