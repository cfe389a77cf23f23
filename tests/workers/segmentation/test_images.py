"""Images with masks on disk: lists, names by content, what is refused, and what comes out of the cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from storage.records import CLASSIFICATION, SEGMENTATION, Job
from workers.data.catalogue import data_hash, info
from workers.data.check_lists import refuse_broken
from workers.data.splits import open_few, open_split
from workers.errors import DataChanged, DataMissing, DataUnreadable, SplitForbidden
from workers.segmentation.batches import MaskedBatches
from workers.segmentation.images import MaskedImages
from workers.segmentation.lists import read_pairs
from workers.site import Site


def silent(done: int, total: int) -> None: ...


def opened(job: Job, site: Site, split: str = "test") -> MaskedImages:
    found = open_split(job, split, site, silent)
    assert isinstance(found, MaskedImages)
    return found


def test_a_path_in_the_second_column_makes_a_data_set_one_of_masks(masked_root: Path, data_root: Path):
    found = info("local/discs", masked_root)
    assert (found.task, found.classes, found.train, found.val, found.test) == (SEGMENTATION, 1, 24, 8, 12)
    assert info("local/corners", data_root).task == CLASSIFICATION


def test_a_suite_says_by_its_metric_that_its_sets_have_masks():
    found = info("segmentation/kvasir_seg")
    assert (found.task, found.train + found.val, found.test) == (SEGMENTATION, 880, 120)


def test_the_content_changes_with_a_mask(own_discs: Path):
    before = data_hash("local/discs", own_discs.parent)
    Image.new("L", (48, 40), 255).save(own_discs / "masks" / "val00.png")
    assert data_hash("local/discs", own_discs.parent) != before


def test_images_and_masks_are_squashed_alike(masked_job: Callable[..., Job], site: Site):
    found = opened(masked_job(recipe={"image_size": 32}), site)
    assert found.images.shape == (12, 32, 32, 3)
    assert found.masks.shape == (12, 32, 32)
    assert set(np.unique(found.masks)) == {0, 1}
    inside = found.images.mean(axis=3)[found.masks == 1]
    assert inside.mean() > found.images.mean(axis=3)[found.masks == 0].mean() + 60, "the discs are the bright part"
    assert found.masks[-1].sum() == 0, "a mask without foreground is legal"


def test_the_cache_gives_what_the_files_gave_and_repairs_a_damaged_mask(masked_job: Callable[..., Job], site: Site):
    job = masked_job(recipe={"image_size": 24})
    fresh = opened(job, site).masks.copy()
    (stored,) = (site.cache / "masks").glob("*.npy")
    again = opened(replace(job, seed=1), replace(site, home=site.home / "other"))
    np.testing.assert_array_equal(again.masks, fresh)
    stored.write_bytes(stored.read_bytes()[:-1] + b"\x07")
    moved = replace(site, cache=site.cache.rename(site.cache.with_name("moved")))  # this process keeps splits open
    np.testing.assert_array_equal(opened(job, moved).masks, fresh)


def test_the_first_images_alone_have_their_masks(masked_job: Callable[..., Job], site: Site):
    job = masked_job(recipe={"image_size": 28})
    few = open_few(job, "train800val200", site, 5)
    assert isinstance(few, MaskedImages)
    np.testing.assert_array_equal(few.masks, opened(job, site, "train800val200").masks[:5])


def test_a_search_cannot_open_the_test_masks(masked_job: Callable[..., Job], site: Site):
    job = masked_job()
    with pytest.raises(SplitForbidden):
        open_split(replace(job, phase=type(job.phase)("search")), "test", site, silent)


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_masks_of_ones_of_white_and_of_16_bits_are_the_same(
    white: int, own_discs: Path, masked_job: Callable[..., Job], site: Site
):
    plain = opened(masked_job(recipe={"image_size": 40}), site).masks
    for path in (own_discs / "masks").glob("*.png"):
        values = (np.asarray(Image.open(path)) > 0) * np.uint16(white)
        Image.fromarray(values.astype(np.uint16 if white > 255 else np.uint8)).save(path)
    job = masked_job(recipe={"image_size": 40})
    job = replace(job, dataset=replace(job.dataset, data_hash=data_hash("local/discs", own_discs.parent)))
    here = replace(site, data={job.dataset.name: own_discs})
    np.testing.assert_array_equal(opened(job, here).masks, plain)


def test_masks_that_do_not_fit_are_named_all_at_once(own_discs: Path, masked_job: Callable[..., Job], site: Site):
    Image.new("L", (40, 40)).save(own_discs / "masks" / "test01.png")
    (own_discs / "masks" / "test03.png").write_bytes(b"no picture")
    job = masked_job(recipe={"image_size": 36})
    job = replace(job, dataset=replace(job.dataset, data_hash=data_hash("local/discs", own_discs.parent)))
    with pytest.raises(DataUnreadable, match=r"2 masks do not fit.*40x40.*48x40.*test03") as caught:
        opened(job, replace(site, data={job.dataset.name: own_discs}))
    assert "write them again" in str(caught.value)


def test_a_mask_of_class_numbers_is_refused(own_discs: Path, masked_job: Callable[..., Job], site: Site):
    Image.new("L", (48, 40), 7).save(own_discs / "masks" / "test00.png")
    job = masked_job(recipe={"image_size": 44})
    job = replace(job, dataset=replace(job.dataset, data_hash=data_hash("local/discs", own_discs.parent)))
    with pytest.raises(DataUnreadable, match="values up to 7, neither 0 and 1 nor 0 and 255"):
        opened(job, replace(site, data={job.dataset.name: own_discs}))


def test_data_that_changed_since_the_plan_are_refused(own_discs: Path, masked_job: Callable[..., Job], site: Site):
    Image.new("L", (48, 40)).save(own_discs / "masks" / "train00.png")
    job = masked_job(recipe={"image_size": 48})
    with pytest.raises(DataChanged, match="plan again"):
        opened(job, replace(site, data={job.dataset.name: own_discs}))


def test_absent_images_and_masks_are_named_all_at_once(own_discs: Path):
    (own_discs / "masks" / "train00.png").unlink()
    (own_discs / "images" / "test00.png").unlink()
    with pytest.raises(DataMissing, match=r"2 listed images or masks.*masks/train00.png, images/test00.png"):
        data_hash("local/discs", own_discs.parent)


def test_lines_that_name_no_mask_are_refused_with_their_numbers(own_discs: Path):
    (own_discs / "val.txt").write_text("images/val00.png masks/val00.png\nimages/val01.png\na b/c d\n")
    with pytest.raises(DataUnreadable, match=r"val.txt, line 2, 3: expected 'relative/image relative/mask'"):
        read_pairs(own_discs, "val200")


def test_an_image_in_training_and_in_test_is_refused(own_discs: Path):
    line = (own_discs / "test.txt").read_text().splitlines()[0]
    (own_discs / "train.txt").write_text((own_discs / "train.txt").read_text() + line + "\n")
    with pytest.raises(DataUnreadable, match="1 images are listed in train800 and in test"):
        refuse_broken("local/discs", own_discs, None)


def test_masks_are_mirrored_with_their_images(masked_job: Callable[..., Job], site: Site):
    job = masked_job(recipe={"augment": "flip"})
    batches = MaskedBatches(opened(job, site, "train800val200"), job, torch.device("cpu"))
    plain = MaskedBatches(opened(job, site, "train800val200"), masked_job(), torch.device("cpu"))
    flipped = 0
    for one, other in zip(batches.trained(0), plain.trained(0), strict=True):
        for image, mask, image_before, mask_before in zip(
            one.images, one.targets, other.images, other.targets, strict=True
        ):
            is_flipped = torch.equal(image, image_before.flip(-1))
            assert is_flipped != torch.equal(image, image_before)
            assert torch.equal(mask, mask_before.flip(-1) if is_flipped else mask_before)
            flipped += is_flipped
    assert 5 < flipped < 27
