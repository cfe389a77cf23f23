"""Prepared folders of TensorFlow Datasets, and VTAB-1k's rule on them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.workers.data.convert.miniatures import (
    IMAGE,
    class_label,
    encoded,
    example,
    listed,
    put,
    record,
    write_tfds,
)
from workers.data.catalogue import described, info
from workers.data.convert.source import SourceRequest
from workers.data.convert.tfds_folders import read
from workers.data.convert.vtab_rule import RULES
from workers.data.suite_files import shipped_suites
from workers.errors import ConversionFailed


def shard(numbers: range, kind: str = "JPEG", classes: int = 3) -> list[bytes]:
    return [example(image=[encoded(number, kind)], label=[number % classes], id=[number]) for number in numbers]


def write_birds(folder: Path) -> Path:
    splits = {"train": [shard(range(12)), shard(range(12, 20))], "test": [shard(range(20, 26), "PNG")]}
    return write_tfds(folder, "birds", {"image": IMAGE, "label": class_label(3)}, splits)


def test_encoded_images_are_written_as_they_are(tmp_path, root, take):
    source = write_birds(tmp_path / "birds")
    put(source / "label.labels.txt", b"crow\nduck\nwren\n")
    converted = take(source)
    assert (converted.kind, dict(converted.sizes)) == ("tfds", {"train": 18, "val": 2, "test": 6})
    assert (root / "mine" / "images" / "train" / "000013.jpg").read_bytes() == encoded(13, "JPEG")
    assert listed(root / "mine", "test.txt")[4] == ("images/test/000004.png", str(24 % 3))
    assert (root / "mine" / "images" / "test" / "000004.png").read_bytes() == encoded(24)
    assert (root / "mine" / "classes.txt").read_text() == "crow\nduck\nwren\n"


OLDEST = {
    "type": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
    "content": {
        "image": {
            "type": "tensorflow_datasets.core.features.image_feature.Image",
            "content": {"shape": [None, None, 3], "dtype": "uint8", "encoding_format": "jpeg"},
        },
        "label": {
            "type": "tensorflow_datasets.core.features.class_label_feature.ClassLabel",
            "content": {"num_classes": 3},
        },
    },
}
INNER = {"features": {"image": IMAGE, "label": class_label(3)}}
BETWEEN = {"type": OLDEST["type"], "proto_cls": "tensorflow_datasets.FeaturesDict"}


@pytest.mark.parametrize("document", [OLDEST, {**BETWEEN, "content": INNER}, {**BETWEEN, "content": json.dumps(INNER)}])
def test_older_spellings_of_the_features_mean_the_same(tmp_path, root, take, document):
    take(write_birds(tmp_path / "birds"))
    put(tmp_path / "birds" / "features.json", json.dumps(document).encode())
    assert take(tmp_path / "birds").written == 0


def test_plain_tensors_become_png_without_loss(tmp_path, root, take):
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    tensor = {"tensor": {"shape": {"dimensions": ["4", "5", "3"]}, "dtype": "uint8"}}
    rows = [example(picture=[(pixels + number).tobytes()], kind=[number % 2]) for number in range(30)]
    write_tfds(tmp_path / "x", "x", {"picture": tensor, "kind": class_label(2)}, {"train": [rows]})
    assert dict(take(tmp_path / "x").sizes) == {"train": 22, "val": 2, "test": 6}
    with Image.open(root / "mine" / "images" / "train" / "000007.png") as image:
        assert np.array_equal(np.asarray(image), pixels + 7)


def test_vtabs_rule_takes_the_first_800_and_200_and_the_nearest_vehicle(tmp_path, root, take):
    """KITTI: class 0 up to 8 m, 1 to 20 m, 2 beyond, 3 without a car, van or truck (types 0 to 2)."""
    scenes = [([0, 5], [7.5, 1.0]), ([2, 1], [30.0, 19.0]), ([1], [400.0]), ([3, 4], [5.0, 6.0])]

    def scene(number: int) -> bytes:
        kinds, depths = scenes[number % 4]
        places = [value for z in depths for value in (0.0, 1.0, z)]
        return example(image=[encoded(number % 7)], objects__type=kinds, objects__location=places)

    splits = {
        "train": [[scene(number) for number in range(300)], [scene(number) for number in range(300, 810)]],
        "validation": [[scene(number + 1) for number in range(203)]],
        "test": [[scene(number + 2) for number in range(711)]],
    }
    write_tfds(tmp_path / "kitti", "kitti", {"image": IMAGE, "objects": {"sequence": {}}}, splits)
    converted = take(tmp_path / "kitti", "vtab1k/kitti_distance")
    assert converted.folder == root / "vtab1k" / "kitti"
    known = info("vtab1k/kitti", root)
    assert (known.train, known.val, known.test, known.classes) == (800, 200, 711, 4)
    assert [label for _, label in listed(converted.folder, "train800.txt")[:5]] == ["0", "1", "2", "3", "0"]
    assert [label for _, label in listed(converted.folder, "val200.txt")[:3]] == ["1", "2", "3"]
    assert listed(converted.folder, "test.txt")[-1] == ("images/test/000710.png", str((710 + 2) % 4))
    train = (converted.folder / "images" / "train800" / "000799.png").read_bytes()
    assert train == encoded(799 % 7)


def test_another_set_is_not_made_into_a_task(tmp_path, root, take):
    with pytest.raises(ConversionFailed, match="this is birds, the task is made from kitti"):
        take(write_birds(tmp_path / "birds"), "vtab1k/kitti")
    assert not root.exists()


def test_every_task_has_a_rule_within_its_classes():
    (vtab,) = (suite for suite in shipped_suites() if suite.name == "vtab1k")
    assert list(RULES) == [dataset.own_name for dataset in vtab.datasets]


@pytest.mark.parametrize(
    ("task", "features", "label"),
    [
        ("clevr_count", {"objects/size": [0] * 10}, 7),
        ("clevr_dist", {"objects/pixel_coords": [0.0, 0.0, 9.2, 1.0, 1.0, 8.4]}, 1),
        ("clevr_dist", {"objects/pixel_coords": [0.0, 0.0, 12.0]}, 5),
        ("dsprites_loc", {"label_x_position": [31]}, 15),
        ("dsprites_ori", {"label_orientation": [39]}, 15),
        ("dsprites_ori", {"label_orientation": [5]}, 2),
        ("smallnorb_azi", {"label_azimuth": [17]}, 17),
        ("smallnorb_ele", {"label_elevation": [8]}, 8),
    ],
)
def test_labels_of_structured_tasks_are_those_of_the_benchmark(task, features, label):
    assert RULES[task].label(features) == label


def test_dsprites_zeros_and_ones_become_black_and_white(tmp_path):
    sprite = np.zeros((6, 6), np.uint8)
    sprite[2:4, 1:5] = 1
    file = io.BytesIO()
    Image.fromarray(sprite).save(file, "PNG")
    rows = [example(image=[file.getvalue()], label_x_position=[number % 32]) for number in range(2010)]
    features = {"image": IMAGE, "label_x_position": class_label(32)}
    source = write_tfds(tmp_path / "dsprites", "dsprites", features, {"train": [rows]})
    listing = read(SourceRequest(path=source, task=described("vtab1k/dsprites_loc")))
    assert len(listing.examples) == 800 + 200 + 201
    val = listing.examples[800]
    assert (val.split, val.label) == ("val", 2010 * 80 // 100 % 32 // 2)
    with Image.open(io.BytesIO(val.content())) as image:
        assert np.array_equal(np.asarray(image), sprite * 255)


def test_a_task_of_other_sizes_is_refused(tmp_path, root, take):
    source = write_tfds(
        tmp_path / "dtd", "dtd", {"image": IMAGE, "label": class_label(47)},
        {"train": [shard(range(900))], "validation": [shard(range(200))], "test": [shard(range(9))]},
    )  # fmt: skip
    with pytest.raises(ConversionFailed, match="test has 9 images, vtab1k/dtd has 1,880"):
        take(source, "vtab1k/dtd")


def test_all_damage_is_told_at_once(tmp_path, root, take):
    source = write_birds(tmp_path / "birds")
    first = source / "birds-train.tfrecord-00000-of-00002"
    first.write_bytes(first.read_bytes()[:-5])
    wrong = [example(image=[encoded(1)], label=[7]), example(label=[1]), example(image=[b"?"], label=[1])]
    put(source / "birds-test.tfrecord-00000-of-00001", b"".join(record(one) for one in wrong))
    with pytest.raises(ConversionFailed) as raised:
        take(source)
    text = str(raised.value)
    assert "birds-train.tfrecord-00000-of-00002 is truncated" in text
    assert "birds-test.tfrecord-00000-of-00001 holds 3 records, dataset_info.json says 6" in text
    assert "label 7 is out of range" in text
    assert "a feature is missing: 'image'" in text
    assert "the image is in no format that is known" in text
    assert not root.exists()


def test_a_shard_that_is_not_there_and_two_possible_labels_are_told(tmp_path, take):
    source = write_tfds(
        tmp_path / "x", "x", {"image": IMAGE, "fine": class_label(3), "coarse": class_label(2)}, {"train": [[], []]}
    )
    (source / "x-train.tfrecord-00001-of-00002").unlink()
    with pytest.raises(ConversionFailed, match="there are: fine, coarse") as raised:
        take(source)
    assert "1 of the 2 shards of train are not there: x-train.tfrecord-00001-of-00002" in str(raised.value)
