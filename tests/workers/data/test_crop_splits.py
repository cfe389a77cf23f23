"""Jobs with `resize: crop`: which images they read, cached or decoded on the way, and that they run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval

from storage.records import BackboneRef, DatasetRef, Phase, Recipe, Status
from workers.data import splits
from workers.data.batches import Batches
from workers.data.catalogue import data_hash
from workers.data.splits import open_few, open_split
from workers.data.stocks import StreamedSet
from workers.errors import SplitForbidden

CPU = torch.device("cpu")
BACKBONE = BackboneRef("nano_vit", "random", crop_pct=0.9)


@pytest.fixture
def cropping(a_job):
    """cropping(augment="crop_flip"): a job whose images are 40 x 36 on disk and 32 x 32 at the input."""

    def make(*methods, recipe=None, **changes):
        return a_job(*methods, recipe={"resize": "crop", **(recipe or {})}, backbone=BACKBONE, **changes)

    return make


@pytest.fixture
def no_room(site):
    """A node whose cache may hold nothing."""
    return replace(site, cache=site.cache / "none", cache_gib=0.0)


def _batches(job, site, split="train800val200") -> Batches:
    return Batches(open_split(job, split, site, lambda done, total: None), job, CPU)


def _entries(site) -> int:
    folder = site.cache / "images"
    return len([path for path in folder.iterdir() if path.is_dir()]) if folder.exists() else 0


def test_what_is_scored_are_the_images_of_timms_evaluation_transform(cropping, site, data_root):
    transform = transforms_imagenet_eval(
        32, crop_pct=0.9, interpolation="bicubic", mean=BACKBONE.mean, std=BACKBONE.std
    )
    paths = [data_root / "corners" / "images" / "test" / f"{index:03d}.png" for index in range(20)]
    expected = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths])
    found = torch.cat([batch.images for batch in _batches(cropping(), site, "test").in_order()])
    assert torch.equal(found, expected)


def test_training_without_crops_sees_the_centre_too(cropping, site):
    job = cropping(recipe={"augment": "flip", "batch_size": 32})
    centre = torch.cat([batch.images for batch in _batches(job, site).in_order()])
    batch, order = next(_batches(job, site).trained(0)), _batches(job, site).order(32, "order", 0)[0]
    for image, plain in zip(batch.images, centre[order], strict=True):
        assert torch.equal(image, plain) or torch.equal(image, plain.flip(-1))


def test_each_form_is_decoded_when_it_is_first_read(cropping, site):
    job = cropping(recipe={"augment": "crop_flip"})
    batches = _batches(job, site)
    assert len(batches) == 32
    assert _entries(site) == 0
    next(batches.trained(0))
    assert _entries(site) == 1, "the large images"
    next(batches.in_order())
    assert _entries(site) == 2, "and the centres"
    next(batches.two_views(8, "pass"))
    assert _entries(site) == 2, "views are drawn from the large images too"


@pytest.mark.parametrize("augment", ["none", "flip", "crop_flip", "shift_flip"])
@pytest.mark.parametrize("resize", ["crop", "squash"])
def test_streamed_images_are_bit_for_bit_the_cached_ones(a_job, site, no_room, augment, resize):
    job = a_job(recipe={"augment": augment, "resize": resize}, backbone=BACKBONE)
    cached, streamed = _batches(job, site), _batches(job, no_room)
    for ours, theirs in zip(cached.trained(1), streamed.trained(1), strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)
    for ours, theirs in zip(cached.in_order(), streamed.in_order(), strict=True):
        assert torch.equal(ours.images, theirs.images)
    for ours, theirs in zip(cached.two_views(8, "pass"), streamed.two_views(8, "pass"), strict=True):
        assert torch.equal(ours[0], theirs[0])
    assert _entries(no_room) == 0


def test_an_embedded_task_runs_without_a_cache(a_job, site, no_room):
    dataset = DatasetRef("embedded/count", data_hash("embedded/count"), 8)
    job = a_job("linear", dataset=dataset, phase=Phase.SEARCH)
    cached, streamed = (next(_batches(job, where, "val200").in_order()) for where in (site, no_room))
    assert torch.equal(cached.images, streamed.images)


def test_imagenet_is_streamed_however_large_the_cache_is(cropping, site, data_root):
    dataset = DatasetRef("general/imagenet1k", data_hash("local/corners", data_root), 4)
    where = replace(site, data={"general/imagenet1k": data_root / "corners"}, cache_gib=100.0)
    for resize in ("crop", "squash"):
        batches = _batches(cropping(dataset=dataset, recipe={"resize": resize}), where, "test")
        assert next(batches.in_order()).images.shape == (20, 3, 32, 32)
    assert _entries(where) == 0


def test_streaming_decodes_a_few_batches_ahead_and_stops_with_its_reader():
    class Counted:
        """Ten thousand images that take no time."""

        labels = np.zeros(10_000, dtype=np.int64)
        nbytes = 30_000

        def __init__(self) -> None:
            self.asked: set[int] = set()

        def decoded(self, index: int):
            self.asked.add(index)
            return np.full((1, 1, 3), index % 256, dtype=np.uint8)

    source = Counted()
    passed = StreamedSet(source, 2).each(list(np.arange(10_000).reshape(-1, 10)))
    assert [int(image[0, 0, 0]) for image in next(passed)] == list(range(10))
    passed.close()
    assert 10 <= len(source.asked) <= 40


def test_a_damaged_image_met_while_streaming_is_named(cropping, no_room, own_data_root):
    path = own_data_root / "corners" / "images" / "test" / "005.png"
    path.write_bytes(path.read_bytes()[:300])
    dataset = DatasetRef("local/corners", data_hash("local/corners", own_data_root), 4)
    where = replace(no_room, data={"local/corners": own_data_root / "corners"})
    with pytest.raises(Exception, match=r"005.png cannot be decoded"):
        next(_batches(cropping(dataset=dataset), where, "test").in_order())


def test_the_test_split_stays_closed_to_a_search_job(cropping, site):
    with pytest.raises(SplitForbidden):
        open_split(cropping(phase=Phase.SEARCH), "test", site, lambda done, total: None)


def test_a_few_images_are_those_of_the_whole_split(cropping, site):
    job = cropping(recipe={"augment": "crop_flip"}, phase=Phase.PREFLIGHT)
    few = Batches(open_few(job, "train800val200", site, 5), job, CPU)
    assert _entries(site) == 0
    whole = _batches(job, site)
    assert torch.equal(next(few.in_order()).images, next(whole.in_order()).images[:5])
    assert few.labels.tolist() == whole.labels[:5].tolist()


@pytest.mark.parametrize(("method", "augment"), [("linear", "none"), ("gps", "crop_flip")])
def test_preflight_checks_cropping_recipes(run, cropping, method, augment):
    result = run(cropping(method, phase=Phase.PREFLIGHT, recipe={"augment": augment, "mixup_alpha": 0.8}))
    assert result.status is Status.DONE, result.failure


def test_the_fgvc_recipe_trains_cached_and_streamed_to_the_same_numbers(run, cropping, site, no_room):
    recipe = {"augment": "crop_flip", "mixup_alpha": 0.8, "cutmix_alpha": 1.0, "label_smoothing": 0.1}
    cached, streamed = (run(cropping("lora", recipe=recipe), at=where) for where in (site, no_room))
    assert cached.status is Status.DONE, cached.failure
    assert cached.metrics["test_loss"] == streamed.metrics["test_loss"]
    squashed = run(cropping("lora", recipe={**recipe, "resize": "squash"}))
    assert squashed.metrics["test_loss"] != cached.metrics["test_loss"]


def test_one_warm_process_makes_room_by_closing_what_it_no_longer_reads(a_job, site):
    """Two sizes that do not fit beside each other: the first one is open for later jobs, and goes."""
    bound = 20 * 3 * 48 * 48 + (1 << 17)
    where = replace(site, cache_gib=bound / 2**30)
    for size in (48, 40, 48):
        open_split(a_job(recipe={"image_size": size}), "test", where, lambda done, total: None)
        assert _entries(where) == 1
    splits._open.clear()


def test_a_form_that_a_job_reads_is_not_evicted_for_the_next_one(cropping, site):
    """Room for the large images or the centres: the second form is streamed, and no epoch builds the first again."""
    where = replace(site, cache_gib=250_000 / 2**30)
    batches = _batches(cropping(recipe={"augment": "crop_flip"}), where)
    next(batches.trained(0))
    built = [path.stat().st_ino for path in (where.cache / "images").iterdir()]
    next(batches.in_order())
    next(batches.trained(1))
    assert [path.stat().st_ino for path in (where.cache / "images").iterdir()] == built
    assert len(built) == 1


def test_shift_flip_without_crop_is_refused():
    assert Recipe(warmup_epochs=0.0, augment="shift_flip").problems() == [
        ("augment", "is 'shift_flip', which needs resize: crop; set it, or take crop_flip")
    ]
    assert Recipe(warmup_epochs=0.0, augment="shift_flip", resize="crop").problems() == []
