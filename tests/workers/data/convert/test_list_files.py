"""List files anywhere."""

from __future__ import annotations

import pytest

from tests.workers.data.convert.miniatures import encoded, listed, put
from workers.data.catalogue import info
from workers.errors import ConversionFailed


def write_images(folder, count=20):
    return [put(folder / "pics" / f"photo {index}.png", encoded(index)) for index in range(count)]


def test_lists_with_names_of_classes_are_numbered_by_them(tmp_path, root, take):
    images = write_images(tmp_path / "away")
    lists = tmp_path / "lists"
    rows = [f"{image}\t{('dog', 'cat')[index % 2]}\n" for index, image in enumerate(images)]
    put(lists / "train.txt", "".join(rows[:12]).encode())
    put(lists / "val.txt", "".join(rows[12:16]).encode())
    put(lists / "test.txt", "".join(rows[16:]).encode())
    converted = take(lists)
    assert (converted.kind, converted.classes, dict(converted.sizes)) == ("list", 2, {"train": 12, "val": 4, "test": 4})
    assert listed(root / "mine", "test.txt")[0] == ("images/photo 16.png", "1"), "dogs come after cats"
    assert (root / "mine" / "images" / "photo 16.png").read_bytes() == encoded(16)
    assert (root / "mine" / "classes.txt").read_text() == "cat\ndog\n"


def test_one_list_with_labels_from_one_is_split_and_made_contiguous(tmp_path, root, take):
    images = write_images(tmp_path)
    lines = "".join(f"pics/{image.name} {1 + index % 2 * 4}\n" for index, image in enumerate(images))
    converted = take(put(tmp_path / "all.txt", lines.encode()))
    assert info("local/mine", root).classes == 2
    assert dict(converted.sizes) == {"train": 14, "val": 2, "test": 4}
    assert "labels 1–5 were made 0–1" in converted.notes
    assert (root / "mine" / "classes.txt").read_text() == "1\n5\n"


def test_comma_and_csv_are_read_too(tmp_path, root, take):
    images = write_images(tmp_path)
    lines = "".join(f"pics/{image.name},{index % 2}\n" for index, image in enumerate(images))
    assert dict(take(put(tmp_path / "all.csv", lines.encode()), kind="list").sizes)["test"] == 4


def test_all_that_is_wrong_with_a_list_is_said_at_once(tmp_path, root, take):
    write_images(tmp_path, 2)
    put(tmp_path / "train.txt", b"pics/photo 0.png 0\npics/gone.png 1\nnonsense\n")
    put(tmp_path / "test.txt", b"pics/photo 1.png 0\npics/lost.png 1\n")
    with pytest.raises(ConversionFailed) as raised:
        take(tmp_path, kind="list")
    text = str(raised.value)
    assert "train.txt, line 3: 'nonsense' is not 'path label'" in text
    assert "2 of 4 images are not there" in text
    assert not (root / "mine").exists()


def test_an_image_in_two_splits_is_refused(tmp_path, take):
    write_images(tmp_path, 3)
    put(tmp_path / "train.txt", b"pics/photo 0.png 0\npics/photo 1.png 1\n")
    put(tmp_path / "test.txt", b"pics/photo 1.png 1\npics/photo 2.png 0\n")
    with pytest.raises(ConversionFailed, match=r"1 images occur more than once: images/photo 1\.png"):
        take(tmp_path)
