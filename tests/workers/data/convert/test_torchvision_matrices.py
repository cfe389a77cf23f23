"""Downloads of torchvision whose labels lie in matrices or packed files."""

from __future__ import annotations

import bz2
import hashlib
from pathlib import Path

import numpy as np
import pytest

from tests.workers.data.convert.miniatures import encoded, listed, put

datasets = pytest.importorskip("torchvision.datasets", reason="these sources are read by torchvision")
scipy_io = pytest.importorskip("scipy.io", reason="torchvision reads .mat files with scipy")


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_flowers_keep_the_published_splits_of_their_matrices(tmp_path, root, take, monkeypatch):
    base = tmp_path / "downloads" / "flowers-102"
    for number in range(1, 31):
        put(base / "jpg" / f"image_{number:05d}.jpg", encoded(number, "JPEG"))
    splits = {"trnid": range(21, 31), "valid": range(11, 21), "tstid": range(1, 11)}
    scipy_io.savemat(base / "imagelabels.mat", {"labels": np.array([[1 + number % 3 for number in range(30)]])})
    scipy_io.savemat(base / "setid.mat", {name: np.array([list(ids)]) for name, ids in splits.items()})
    known = {key: (name, md5(base / name)) for key, name in (("label", "imagelabels.mat"), ("setid", "setid.mat"))}
    monkeypatch.setattr(datasets.Flowers102, "_file_dict", {**datasets.Flowers102._file_dict, **known})
    assert dict(take(base.parent).sizes) == {"train": 10, "val": 10, "test": 10}
    assert listed(root / "mine", "test.txt")[4] == ("images/flowers-102/jpg/image_00005.jpg", "1")
    assert (root / "mine" / "images" / "flowers-102" / "jpg" / "image_00005.jpg").read_bytes() == encoded(5, "JPEG")


def test_cars_are_read_by_their_annotations(tmp_path, root, take):
    base = tmp_path / "downloads" / "stanford_cars"
    for split, name in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        rows = np.zeros((1, 12), dtype=[("fname", object), ("class", object)])
        for index in range(12):
            rows[0, index] = (f"{index}.jpg", 1 + index % 2)
            put(base / f"cars_{split}" / f"{index}.jpg", encoded(index, "JPEG"))
        (base / "devkit").mkdir(exist_ok=True)
        scipy_io.savemat(base / name, {"annotations": rows})
    scipy_io.savemat(base / "devkit" / "cars_meta.mat", {"class_names": np.array([["Audi", "BMW"]], dtype=object)})
    assert dict(take(base.parent).sizes) == {"train": 11, "val": 1, "test": 12}
    assert listed(root / "mine", "test.txt")[3] == ("images/stanford_cars/cars_test/3.jpg", "1")
    assert (root / "mine" / "classes.txt").read_text() == "Audi\nBMW\n"


def test_usps_and_stl10_become_png(tmp_path, root, take, monkeypatch):
    usps, stl = tmp_path / "usps", tmp_path / "stl" / "stl10_binary"
    row = " ".join(f"{index + 1}:{index / 128 - 1:.4f}" for index in range(256))
    known = {}
    for split, name in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        file = put(usps / name, bz2.compress("".join(f"{1 + index % 10} {row}\n" for index in range(20)).encode()))
        known[split] = ["", name, md5(file)]
    monkeypatch.setattr(datasets.USPS, "split_list", known)
    assert dict(take(usps, "usps").sizes) == {"train": 18, "val": 2, "test": 20}
    assert listed(root / "usps", "test.txt")[12] == ("images/test/000012.png", "2")
    for split in ("train", "test"):
        images = np.random.default_rng(0).integers(0, 256, (12, 3, 96, 96), dtype=np.uint8)
        put(stl / f"{split}_X.bin", images.tobytes())
        put(stl / f"{split}_y.bin", bytes(1 + index % 2 for index in range(12)))
        files = [[name, md5(stl / name)] for name in (f"{split}_X.bin", f"{split}_y.bin")]
        monkeypatch.setattr(datasets.STL10, f"{split}_list", files)
    put(stl / "class_names.txt", b"bird\ncar\n")
    assert dict(take(stl.parent, "stl").sizes) == {"train": 11, "val": 1, "test": 12}
    assert len(listed(root / "stl", "test.txt")) == 12
