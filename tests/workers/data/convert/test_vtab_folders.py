"""Prepared VTAB-1k folders: their own layout, their second copies, and whose name they may take."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers.data.convert.miniatures import encoded, put
from workers.data.catalogue import info
from workers.data.check_findings import Level
from workers.data.check_lists import check_lists
from workers.data.convert.convert import ConversionRequest, convert
from workers.data.folders import read_list
from workers.errors import ConversionFailed

KITTI = {"train800": 800, "val200": 200, "test": 711}


def write_noah(folder: Path, sizes: dict[str, int], kind: str = "PNG") -> Path:
    """As get_vtab1k.py writes it: the images of train800val200 are copies in a folder of their own."""
    images = [encoded(number, kind) for number in range(40)]
    number = 0
    both: list[tuple[bytes, int]] = []
    for split, size in sizes.items():
        lines = []
        for index in range(size):
            content, label = images[number % 40] + str(number).encode(), number % 4
            lines.append(f"images/{split}/{index:06d}.jpg {label}\n")
            put(folder / "images" / split / f"{index:06d}.jpg", content)
            both += [(content, label)] if split != "test" else []
            number += 1
        put(folder / f"{split}.txt", "".join(lines).encode())
    for index, (content, _) in enumerate(both):
        put(folder / "images" / "train800val200" / f"{index:06d}.jpg", content)
    lines = [f"images/train800val200/{index:06d}.jpg {label}\n" for index, (_, label) in enumerate(both)]
    put(folder / "train800val200.txt", "".join(lines).encode())
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_noah(tmp_path / "task", {"train800": 8, "val200": 4, "test": 6})


def test_a_published_task_keeps_its_lists_and_loses_its_second_copies(tmp_path, root, take):
    source = write_noah(tmp_path / "kitti_dist", KITTI)
    put(source / "classes.txt", b"near\nfar\nfarther\nnone\n")
    converted = take(source, None)
    assert (converted.name, converted.kind) == ("vtab1k/kitti", "vtab")
    assert converted.folder == root / "vtab1k" / "kitti"
    assert info("vtab1k/kitti", root).test == 711
    for split in ("train800", "val200", "test", "classes"):
        name = f"{split}.txt"
        assert (converted.folder / name).read_bytes() == (source / name).read_bytes()
    assert read_list(converted.folder, "train800val200") == (
        *read_list(source, "train800"),
        *read_list(source, "val200"),
    )
    some = "images/val200/000199.jpg"
    assert (converted.folder / some).read_bytes() == (source / some).read_bytes()
    assert not (converted.folder / "images" / "train800val200").exists()
    assert all(finding.level != Level.PROBLEM for finding in check_lists(converted.folder, 4))


def test_a_task_of_other_sizes_takes_no_benchmarks_name(small, root, take):
    with pytest.raises(ConversionFailed) as raised:
        take(small, "vtab1k/kitti")
    assert "train800 has 8 images, vtab1k/kitti has 800" in str(raised.value)
    assert "test has 6 images, vtab1k/kitti has 711" in str(raised.value)
    assert not root.exists()
    assert dict(take(small, "mine").sizes) == {"train": 8, "val": 4, "test": 6}


def test_lists_of_the_parts_may_be_left_out(small, root, take):
    for name in ("train800", "val200"):
        (small / f"{name}.txt").unlink()
    lines = [f"images/train800val200/{index % 12:06d}.jpg 0\n" for index in range(12)]
    put(small / "train800val200.txt", "".join(lines).encode())
    put(small / "test.txt", b"images/test/000000.jpg 0\n")
    with pytest.raises(ConversionFailed, match="train800val200 has 12 images"):
        take(small, "vtab1k/kitti")


def test_a_folder_of_tasks_is_converted_whole_or_not_at_all(tmp_path, root):
    dump = tmp_path / "dump"
    write_noah(dump / "kitti_distance", KITTI)
    write_noah(dump / "oxford_iiit_pet", {"train800": 800, "val200": 200, "test": 10})
    request = ConversionRequest(source=dump, root=root)
    with pytest.raises(ConversionFailed, match=r"vtab1k/pets.*\n.*test has 10 images, vtab1k/pets has 3,669"):
        convert(request, lambda done, total: None)
    assert not root.exists()
    (dump / "oxford_iiit_pet").rename(tmp_path / "away")
    (converted,) = convert(request, lambda done, total: None)
    assert converted.name == "vtab1k/kitti"
    (tmp_path / "away").rename(dump / "petz")
    with pytest.raises(ConversionFailed, match="no task of VTAB-1k is called petz"):
        convert(request, lambda done, total: None)


def test_a_train800val200_that_is_something_else_is_refused(small, take):
    put(small / "images" / "train800val200" / "000003.jpg", b"another image")
    with pytest.raises(ConversionFailed, match=r"1 of 12 lines are in neither \(images/train800val200/000003.jpg\)"):
        take(small)


def test_all_damage_is_told_at_once(small, take):
    (small / "images" / "val200" / "000001.jpg").unlink()
    with (small / "test.txt").open("a") as file:
        file.write("images/test/000000.jpg 9\nimages/../../secret.jpg 1\n")
    with (small / "train800.txt").open("a") as file:
        file.write("no label\n")
    with pytest.raises(ConversionFailed) as raised:
        take(small, "vtab1k/kitti")
    assert "train800.txt, line 9: 'no label' is not 'path label'" in str(raised.value)
    assert "1 listed paths leave the folder" in str(raised.value)
    assert "2 listed images are not there" in str(raised.value)
    assert "test.txt: 1 labels are out of range 0–3: images/test/000000.jpg 9" in str(raised.value)


@pytest.mark.parametrize(("kind", "is_told"), [("JPEG", True), ("PNG", False)])
def test_jpegs_of_a_lossless_set_are_told(tmp_path, take, kind, is_told):
    source = write_noah(tmp_path / "kitti", KITTI, kind)
    assert any("these images are JPEG" in note for note in take(source, None).notes) is is_told
