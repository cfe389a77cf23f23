"""Trees of class folders: names, labels, bytes, and the splits that they lack."""

from __future__ import annotations

import hashlib

import pytest

from tests.workers.data.convert.miniatures import card, class_tree, listed, put
from workers.data.catalogue import info
from workers.data.folders import SPLITS, read_list
from workers.errors import ConversionFailed


def test_a_tree_with_splits_is_found_as_a_set_of_ones_own_with_every_byte(tmp_path, root, take):
    source = class_tree(tmp_path / "birds", splits=("train", "valid", "test"), classes="bac")
    converted = take(source)
    assert (converted.kind, converted.name, dict(converted.sizes)) == (
        "folders",
        "local/mine",
        {"train": 30, "val": 30, "test": 30},
    )
    known = info("local/mine", root)
    assert (known.classes, known.train, known.val, known.test) == (3, 30, 30, 30)
    assert (root / "mine" / "classes.txt").read_text() == "a\nb\nc\n"
    for path, label in read_list(root / "mine", "val200"):
        original = source / path.removeprefix("images/")
        assert (root / "mine" / path).read_bytes() == original.read_bytes()
        assert original.parent.name == "abc"[label]
    assert len(list((root / "mine" / "images").rglob("*.*"))) == 90


def test_without_validation_images_a_tenth_of_each_class_is_held_out(tmp_path, root, take):
    source = class_tree(tmp_path / "birds", splits=("train", "test"), each=20)
    converted = take(source)
    assert dict(converted.sizes) == {"train": 36, "val": 4, "test": 40}
    labels = [label for _, label in read_list(root / "mine", "val200")]
    assert labels == [0, 0, 1, 1]
    both = set(read_list(root / "mine", "train800val200"))
    assert both == set(read_list(root / "mine", "train800")) | set(read_list(root / "mine", "val200"))
    assert card(root / "mine")["notes"] == [
        "val: 10 % of the training images, the first of each class by SHA-256 of '0:name'"
    ]


def test_one_tree_is_split_by_its_names_and_the_seed_alone(tmp_path, root, take):
    source = class_tree(tmp_path / "birds", each=25)
    assert dict(take(source).sizes) == {"train": 36, "val": 4, "test": 10}
    test = [path for path, label in read_list(root / "mine", "test") if label == 0]
    names = [f"images/a/{image} x.{('png', 'JPG')[image % 2]}" for image in range(25)]
    assert sorted(test) == sorted(sorted(names, key=lambda name: hashlib.sha256(f"0:{name}".encode()).digest())[:5])
    take(source, "other", seed=1)
    assert read_list(root / "other", "test") != read_list(root / "mine", "test")


def test_a_thousand_training_images_become_800_and_200(tmp_path, root, take):
    source = tmp_path / "thousand"
    for split, count in (("train", 1000), ("test", 4)):
        for index in range(count):
            put(source / split / f"class{index % 4}" / f"{index}.png", b"not looked at")
    assert dict(take(source).sizes) == {"train": 800, "val": 200, "test": 4}
    assert {path.stem for path in (root / "mine").glob("*.txt")} == {*SPLITS, "classes"}
    assert sorted(label for _, label in read_list(root / "mine", "val200")) == sorted([0, 1, 2, 3] * 50)


def test_published_validation_images_are_the_test_where_there_is_no_other(tmp_path, root, take):
    converted = take(class_tree(tmp_path / "imagenet", splits=("train", "val")))
    assert dict(converted.sizes) == {"train": 18, "val": 2, "test": 20}
    assert any("the source's validation images" in note for note in converted.notes)
    assert all(path.startswith("images/val/") for path, _ in listed(root / "mine", "test.txt"))


def test_what_is_wrong_with_a_tree_is_said_at_once(tmp_path, take):
    source = class_tree(tmp_path / "birds", splits=("train", "test"))
    (source / "train" / "empty").mkdir()
    put(source / "test" / "text" / "notes.md", b"words")
    with pytest.raises(ConversionFailed, match=r"nothing was written:\n.*train/empty holds no image.*\n.*test/text"):
        take(source)
    put(tmp_path / "odd" / "a" / "x\ny.png", b"1")
    put(tmp_path / "odd" / "b" / "z.png", b"1")
    put(tmp_path / "odd" / "b" / "w.png", b"1")
    with pytest.raises(ConversionFailed, match="1 names cannot stand in a line"):
        take(tmp_path / "odd")


def test_files_that_are_no_images_are_left_out_and_told(tmp_path, root, take):
    source = class_tree(tmp_path / "birds")
    put(source / "a" / "readme.txt", b"words")
    put(source / "a" / ".DS_Store", b"junk")
    converted = take(source)
    assert any("1 files that are no images were left out: a/readme.txt" in note for note in converted.notes)
    assert not list((root / "mine").rglob("readme.txt"))
