"""Batches: normalised as the field does, in an order that seed and epoch alone decide."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import Compose, Normalize, ToTensor

from workers.data.batches import Batches
from workers.data.splits import open_split
from workers.data.training import JobTrainingData

CPU = torch.device("cpu")


@pytest.fixture
def batches(a_job, site):
    def make(**changes) -> Batches:
        job = a_job("linear", **changes)
        return Batches(open_split(job, "train800val200", site, lambda done, total: None), job, CPU)

    return make


def _labels(batches: Batches, epoch: int) -> list[int]:
    return torch.cat([batch.labels for batch in batches.trained(epoch)]).tolist()


def test_images_are_normalised_as_torchvision_does(a_job, site, batches):
    backbone = a_job("linear").backbone
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    made = batches(backbone=type(backbone)("nano_vit", "random", mean, std))
    stored = open_split(a_job("linear"), "train800val200", site, lambda done, total: None)
    transform = Compose([ToTensor(), Normalize(mean, std)])
    expected = torch.stack([transform(image.copy()) for image in stored.images])
    assert torch.equal(torch.cat([batch.images for batch in made.in_order()]), expected)


def test_the_order_depends_on_seed_and_epoch_alone(batches):
    made = batches()
    first = _labels(made, 0)
    torch.rand(5)
    assert _labels(batches(recipe={"augment": "crop_flip"}), 0) == first, "whatever is augmented"
    assert _labels(made, 1) != first
    assert _labels(batches(seed=1), 0) != first
    assert sorted(first) == sorted(_labels(made, 1)), "each image once"


def test_the_partial_batch_is_dropped_but_a_split_smaller_than_a_batch_is_kept(batches):
    assert [len(batch.labels) for batch in batches(recipe={"batch_size": 10}).trained(0)] == [10, 10, 10]
    assert [len(batch.labels) for batch in batches(recipe={"batch_size": 64}).trained(0)] == [32]


@pytest.mark.parametrize("recipe", [{"augment": "flip"}, {"augment": "crop_flip"}, {"cutmix_alpha": 1.0}])
def test_augmentation_changes_images_and_is_repeatable(batches, recipe):
    plain = next(batches().trained(0)).images
    one, two = next(batches(recipe=recipe).trained(0)), next(batches(recipe=recipe).trained(0))
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.targets, two.targets)
    assert not torch.equal(one.images, plain)
    assert not torch.equal(one.images, next(batches(recipe=recipe).trained(1)).images)


def test_methods_see_shuffled_passes_and_two_views(a_job, batches):
    told = []
    data = JobTrainingData(a_job("linear"), batches(), {}, lambda *place: told.append(place))
    images, labels = next(data.batches(8))
    assert images.shape == (8, 3, 32, 32)
    assert labels.shape == (8,)
    first, second = (torch.cat([labels for _, labels in data.batches(8)]) for _ in range(2))
    assert not torch.equal(first, second), "every pass has its own order"
    views, labels = next(data.two_view_batches(8))
    assert views.shape == (8, 2, 3, 32, 32)
    assert not torch.equal(views[:, 0], views[:, 1])
    assert told[0] == ("score", 0, 4)
    again = JobTrainingData(a_job("linear"), batches(), {}, lambda *_: None)
    assert torch.equal(next(again.batches(8))[0], images)
    assert torch.equal(torch.rand(3, generator=again.generator), torch.rand(3, generator=data.generator))
