"""FGVC by VPT's json files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.workers.data.convert.miniatures import contents, encoded, listed, put
from workers.data.catalogue import info
from workers.data.folders import read_list
from workers.errors import ConversionFailed


def write_vpt(folder: Path, sizes: tuple[int, int, int], classes: tuple[int, ...], images: str = "images") -> Path:
    number = 0
    for split, size in zip(("train", "val", "test"), sizes, strict=True):
        ids = {}
        for index in range(size):
            name = f"{index % len(classes):03d}.kind/{split}_{index}.jpg"
            ids[name] = classes[index % len(classes)]
            put(folder / images / name, encoded(number % 20) + str(number).encode())
            number += 1
        put(folder / f"{split}.json", json.dumps(ids).encode())
    return folder


def test_class_ids_are_sorted_and_made_contiguous_over_the_three_files(tmp_path, root, take):
    source = write_vpt(tmp_path / "birds", (6, 3, 3), (700, 12, 101))
    converted = take(source)
    assert (converted.kind, converted.classes) == ("vpt", 3)
    assert listed(root / "mine", "val.txt") == [
        ("images/000.kind/val_0.jpg", "2"),
        ("images/001.kind/val_1.jpg", "0"),
        ("images/002.kind/val_2.jpg", "1"),
    ]
    for path in contents(source / "images"):
        assert (root / "mine" / "images" / path).read_bytes() == (source / "images" / path).read_bytes()


def test_the_published_sizes_take_the_benchmarks_name(tmp_path, root, take):
    source = write_vpt(tmp_path / "OxfordFlower", (1020, 1020, 6149), tuple(range(1, 103)), images="")
    converted = take(source, "fgvc/oxford_flowers", link=True)
    assert converted.folder == root / "fgvc" / "OxfordFlower"
    assert (info("fgvc/flowers", root).train, info("fgvc/flowers", root).classes) == (1020, 102)
    assert len(read_list(converted.folder, "train800val200")) == 2040
    linked = converted.folder / "images" / "000.kind" / "train_0.jpg"
    assert linked.samefile(source / "000.kind" / "train_0.jpg")


def test_other_sizes_do_not(tmp_path, take):
    with pytest.raises(ConversionFailed, match=r"train800 has 6 images, fgvc/cub200 has 5,394"):
        take(write_vpt(tmp_path / "birds", (6, 3, 3), (1, 2, 3)), "fgvc/cub200")


def test_all_damage_is_told_at_once(tmp_path, take):
    source = write_vpt(tmp_path / "birds", (6, 3, 3), (1, 2, 3))
    put(source / "val.json", b'{"000.kind/val_0.jpg": 1, "000.kind/val_0.jpg": 2, "b.jpg": "x"}')
    put(source / "test.json", b'{"gone.jpg": 1, "000.kind/test_0.jpg"')
    with pytest.raises(ConversionFailed) as raised:
        take(source)
    text = str(raised.value)
    assert "val.json: 1 names occur twice: 000.kind/val_0.jpg" in text
    assert "val.json: 1 class ids are no whole numbers from 0: b.jpg: 'x'" in text
    assert "test.json cannot be read" in text
