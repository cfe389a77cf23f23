"""Downloads of torchvision, read by torchvision's own classes."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.workers.data.convert.miniatures import encoded, listed, put
from workers.errors import ConversionFailed

datasets = pytest.importorskip("torchvision.datasets", reason="these sources are read by torchvision")


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture
def cifar(tmp_path, monkeypatch) -> tuple[Path, np.ndarray]:
    """CIFAR-10 as downloaded, with 30 training and 10 test images, and torchvision told of their checksums."""
    folder = tmp_path / "downloads" / "cifar-10-batches-py"
    data = np.random.default_rng(0).integers(0, 256, (40, 3072), dtype=np.uint8)
    known = {}
    for name, rows in (("data_batch_1", slice(0, 30)), ("test_batch", slice(30, 40))):
        labels = [number % 10 for number in range(40)][rows]
        batch = put(folder / name, pickle.dumps({"data": data[rows], "labels": labels}))
        known[name] = hashlib.md5(batch.read_bytes()).hexdigest()
    names = [f"class {index}" for index in range(10)]
    meta = put(folder / "batches.meta", pickle.dumps({"label_names": names}))
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", known["data_batch_1"]]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", known["test_batch"]]])
    checksum = hashlib.md5(meta.read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": meta.name, "key": "label_names", "md5": checksum})
    return folder.parent, data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


def test_pickled_arrays_become_png_pixel_for_pixel(cifar, root, take):
    source, data = cifar
    converted = take(source)
    assert (converted.kind, dict(converted.sizes)) == ("torchvision", {"train": 27, "val": 3, "test": 10})
    for path, label in listed(root / "mine", "test.txt"):
        number = 30 + int(Path(path).stem)
        assert np.array_equal(pixels(root / "mine" / path), data[number])
        assert int(label) == number % 10
    assert (root / "mine" / "classes.txt").read_text().splitlines()[9] == "class 9"


def test_a_torn_download_is_told_by_torchvisions_own_checksum(cifar, root, take):
    source, _ = cifar
    batch = source / "cifar-10-batches-py" / "test_batch"
    batch.write_bytes(batch.read_bytes()[:-1])
    with pytest.raises(
        ConversionFailed, match=r"CIFAR10 cannot be read \(train\).*\n.*CIFAR10 cannot be read \(test\)"
    ):
        take(source)
    assert not root.exists()


def test_svhns_matrices_become_png_and_its_tens_are_zeros(tmp_path, root, take, monkeypatch):
    scipy_io = pytest.importorskip("scipy.io", reason="torchvision reads SVHN with scipy")
    data = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
    labels = np.array([[1 + index % 10] for index in range(20)], np.uint8)
    known = {}
    for split in ("train", "test"):
        file = tmp_path / f"{split}_32x32.mat"
        scipy_io.savemat(file, {"X": data, "y": labels})
        known[split] = ["", file.name, hashlib.md5(file.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", known)
    assert dict(take(tmp_path, kind="torchvision:SVHN").sizes) == {"train": 18, "val": 2, "test": 20}
    assert listed(root / "mine", "test.txt")[9] == ("images/test/000009.png", "0")
    assert np.array_equal(pixels(root / "mine" / "images" / "test" / "000009.png"), data[..., 9])


def test_dtd_keeps_its_files_and_its_three_splits(tmp_path, root, take):
    base = tmp_path / "dtd" / "dtd"
    for split, numbers in (("train", range(6)), ("val", range(6, 9)), ("test", range(9, 13))):
        lines = [f"{'ba'[number % 2]}/{number}.jpg\n" for number in numbers]
        put(base / "labels" / f"{split}1.txt", "".join(lines).encode())
        for number, line in zip(numbers, lines, strict=True):
            put(base / "images" / line.strip(), encoded(number, "JPEG"))
    converted = take(tmp_path, kind="torchvision:DTD")
    assert dict(converted.sizes) == {"train": 6, "val": 3, "test": 4}
    assert listed(root / "mine", "test.txt")[0] == ("images/dtd/dtd/images/a/9.jpg", "0")
    assert (root / "mine" / "images" / "dtd" / "dtd" / "images" / "a" / "9.jpg").read_bytes() == encoded(9, "JPEG")


def test_pets_without_a_loader_keep_their_files_too(tmp_path, root, take):
    base = tmp_path / "oxford-iiit-pet"
    for split, numbers in (("trainval", range(20)), ("test", range(20, 24))):
        lines = [f"{('Abyssinian', 'beagle')[number % 2]}_{number} {1 + number % 2} 1 1\n" for number in numbers]
        put(base / "annotations" / f"{split}.txt", "".join(lines).encode())
        for number, line in zip(numbers, lines, strict=True):
            put(base / "images" / f"{line.split()[0]}.jpg", encoded(number, "JPEG"))
    assert dict(take(tmp_path).sizes) == {"train": 18, "val": 2, "test": 4}
    name, label = listed(root / "mine", "test.txt")[1]
    assert (Path(name).name, label) == ("beagle_21.jpg", "1")
    assert (root / "mine" / name).read_bytes() == encoded(21, "JPEG")
    (base / "images" / "beagle_21.jpg").unlink()
    with pytest.raises(ConversionFailed, match=r"1 images are not there: images/oxford-iiit-pet/images/beagle_21.jpg"):
        take(tmp_path, "other")


def test_eurosat_has_no_splits_and_gets_them(tmp_path, root, take):
    for number in range(40):
        put(tmp_path / "eurosat" / "2750" / ("Forest", "River")[number % 2] / f"{number}.jpg", encoded(number, "JPEG"))
    converted = take(tmp_path)
    assert (converted.kind, dict(converted.sizes)) == ("torchvision", {"train": 29, "val": 3, "test": 8})
    assert (root / "mine" / "classes.txt").read_text() == "Forest\nRiver\n"


def test_a_class_that_is_not_known_and_files_that_are_not_there(tmp_path, take):
    with pytest.raises(ConversionFailed, match="Did you mean 'CIFAR10'"):
        take(tmp_path, kind="torchvision:CIFAR1O")
    with pytest.raises(ConversionFailed, match=r"Flowers102 cannot be read \(train\).*not found or corrupted"):
        take(tmp_path, kind="torchvision:Flowers102")
