"""Images with masks: the layout, the split that everybody shares, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.workers.data.convert.miniatures import card, encoded, listed, put
from workers.errors import ConversionFailed

NUCLEI = Path(__file__).resolve().parents[5] / "shared" / "data" / "seg" / "nuclei"


def write_kvasir(folder: Path, count: int, ending: str = "jpg") -> Path:
    image, mask = encoded(0, "JPEG"), encoded(1)
    for index in range(count):
        put(folder / "images" / f"c{index:04d}.jpg", image + str(index).encode())
        put(folder / "masks" / f"c{index:04d}.{ending}", mask + str(index).encode())
    return folder


def test_kvasir_is_split_880_to_120_the_same_for_everybody(tmp_path, root, take):
    source = write_kvasir(tmp_path / "Kvasir-SEG", 1000)
    converted = take(source, "segmentation/kvasir_seg")
    assert (converted.kind, dict(converted.sizes)) == ("kvasir", {"train": 792, "val": 88, "test": 120})
    test = listed(root / "segmentation" / "kvasir_seg", "test.txt")
    names = [f"images/c{index:04d}.jpg" for index in range(1000)]
    ranked = sorted(names, key=lambda name: hashlib.sha256(f"0:{name}".encode()).digest())
    assert [image for image, _ in test] == sorted(ranked[:120])
    assert all(mask == image.replace("images", "masks") for image, mask in test)
    assert card(root / "segmentation" / "kvasir_seg")["lists"]["test"] == [image for image, _ in test]
    assert (root / "segmentation" / "kvasir_seg" / "masks" / "c0007.jpg").read_bytes() == (
        source / "masks" / "c0007.jpg"
    ).read_bytes()
    take(source.rename(tmp_path / "elsewhere"), "again", kind="kvasir")
    assert (root / "again" / "test.txt").read_bytes() == (
        root / "segmentation" / "kvasir_seg" / "test.txt"
    ).read_bytes()


def test_masks_of_another_ending_belong_to_their_images(tmp_path, root, take):
    take(write_kvasir(tmp_path / "cells", 20, "png"))
    assert listed(root / "mine", "train.txt")[0][1].endswith(".png")
    assert sum(len(listed(root / "mine", f"{split}.txt")) for split in ("train", "val", "test")) == 20


def test_all_damage_is_told_at_once(tmp_path, root, take):
    source = write_kvasir(tmp_path / "cells", 6)
    (source / "masks" / "c0001.jpg").unlink()
    put(source / "masks" / "stray.png", encoded(1))
    put(source / "masks" / "c0002.jpg", encoded(2, size=(9, 9)))
    put(source / "images" / "c0003.jpg", b"no image")
    with pytest.raises(ConversionFailed) as raised:
        take(source)
    text = str(raised.value)
    assert "1 files have no mask: c0001.jpg" in text
    assert "1 files have no image: stray.png" in text
    assert "1 masks have another size than their images: c0002.jpg" in text
    assert "c0003.jpg is no image that can be read" in text
    assert not root.exists()


@pytest.mark.skipif(not NUCLEI.is_dir(), reason="the real images with masks are not on this machine")
def test_real_cells_of_other_sizes_are_taken_over(root, take):
    converted = take(NUCLEI, "nuclei")
    total = len(list((NUCLEI / "images").iterdir()))
    assert sum(converted.sizes.values()) == total
    assert converted.sizes["test"] == round(0.12 * total)
    image, mask = listed(root / "nuclei", "val.txt")[0]
    assert (root / "nuclei" / image).read_bytes() == (NUCLEI / image).read_bytes()
    assert (root / "nuclei" / mask).read_bytes() == (NUCLEI / mask).read_bytes()
