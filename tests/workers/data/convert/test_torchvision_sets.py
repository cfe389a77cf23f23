"""Downloads of torchvision, read by torchvision's own classes."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
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


def tree(root: Path, parts: dict[str, int], ending: str = "jpg") -> None:
    """`parts`: folder -> number of images in it, each another one."""
    for seed, (folder, count) in enumerate(parts.items()):
        for index in range(count):
            put(root / folder / f"{seed}_{index}.{ending}", encoded(100 * seed + index, "JPEG"))


def country(root: Path) -> None:
    tree(root / "country211", {f"{split}/{name}": 2 for split in ("train", "valid", "test") for name in ("AD", "ZW")})


def rendered(root: Path) -> None:
    parts = {f"{split}/{name}": 2 for split in ("train", "valid", "test") for name in ("negative", "positive")}
    tree(root / "rendered-sst2", parts, "png")


def imagenette(root: Path) -> None:
    wnids = ("n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916", "n03417042", "n03425413",
             "n03445777", "n03888257")  # fmt: skip
    tree(root / "imagenette2", {f"{split}/{wnid}": 2 for split in ("train", "val") for wnid in wnids}, "JPEG")


def food(root: Path) -> None:
    base = root / "food-101"
    for split, first in (("train", 0), ("test", 10)):
        names = {name: [f"{name}/{first + index}" for index in range(10)] for name in ("pie", "soup")}
        put(base / "meta" / f"{split}.json", json.dumps(names).encode())
        for number, name in enumerate(name for every in names.values() for name in every):
            put(base / "images" / f"{name}.jpg", encoded(first + number, "JPEG"))


def aircraft(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    put(data / "variants.txt", b"A380\nJu-52\n")
    for part, split in enumerate(("train", "val", "test")):
        numbers = range(4 * part, 4 * part + 4)
        lines = [f"{number:07d} {('A380', 'Ju-52')[number % 2]}\n" for number in numbers]
        put(data / f"images_variant_{split}.txt", "".join(lines).encode())
        for number in numbers:
            put(data / "images" / f"{number:07d}.jpg", encoded(number, "JPEG"))


def sun(root: Path) -> None:
    put(root / "SUN397" / "ClassName.txt", b"/a/abbey\n/b/bay\n")
    tree(root / "SUN397", {"a/abbey": 10, "b/bay": 10})
    for number, path in enumerate(sorted((root / "SUN397").rglob("*.jpg"))):
        path.rename(path.with_name(f"sun_{number}.jpg"))


def signs(root: Path) -> None:
    tree(root / "gtsrb" / "GTSRB" / "Training", {"00000": 10, "00001": 10}, "ppm")
    tree(root / "gtsrb" / "GTSRB" / "Final_Test", {"Images": 4}, "ppm")
    rows = "".join(f"0_{index}.ppm;{index % 2}\n" for index in range(4))
    put(root / "gtsrb" / "GT-final_test.csv", f"Filename;ClassId\n{rows}".encode())


@pytest.mark.parametrize(
    ("build", "sizes"),
    [
        (country, {"train": 4, "val": 4, "test": 4}),
        (rendered, {"train": 4, "val": 4, "test": 4}),
        (imagenette, {"train": 18, "val": 2, "test": 20}),
        (food, {"train": 18, "val": 2, "test": 20}),
        (aircraft, {"train": 4, "val": 4, "test": 4}),
        (sun, {"train": 14, "val": 2, "test": 4}),
        (signs, {"train": 18, "val": 2, "test": 4}),
    ],
)
def test_sets_of_files_are_recognised_and_keep_every_byte(tmp_path, root, take, build, sizes):
    build(tmp_path / "downloads")
    converted = take(tmp_path / "downloads")
    assert (converted.kind, dict(converted.sizes)) == ("torchvision", sizes)
    for path, _ in listed(root / "mine", "test.txt"):
        original = tmp_path / "downloads" / path.removeprefix("images/")
        assert (root / "mine" / path).read_bytes() == original.read_bytes()
    assert {label for _, label in listed(root / "mine", "test.txt")} >= {"0", "1"}


def test_mnists_idx_files_become_png(tmp_path, root, take):
    data = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    raw = tmp_path / "MNIST" / "raw"
    for part in ("train", "t10k"):
        put(raw / f"{part}-images-idx3-ubyte", struct.pack(">4i", 0x803, *data.shape) + data.tobytes())
        put(raw / f"{part}-labels-idx1-ubyte", struct.pack(">2i", 0x801, 20) + bytes(index % 10 for index in range(20)))
    assert dict(take(tmp_path).sizes) == {"train": 18, "val": 2, "test": 20}
    assert np.array_equal(pixels(root / "mine" / "images" / "test" / "000007.png"), data[7])
    assert listed(root / "mine", "test.txt")[7] == ("images/test/000007.png", "7")


def test_a_class_that_is_not_known_and_files_that_are_not_there(tmp_path, take):
    with pytest.raises(ConversionFailed, match="Did you mean 'CIFAR10'"):
        take(tmp_path, kind="torchvision:CIFAR1O")
    with pytest.raises(ConversionFailed, match=r"Flowers102 cannot be read \(train\).*not found or corrupted"):
        take(tmp_path, kind="torchvision:Flowers102")
