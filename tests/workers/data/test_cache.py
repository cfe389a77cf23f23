"""The image cache: built once, whole or absent, equal to what was decoded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workers.data.cache import open_entry
from workers.data.catalogue import data_hash
from workers.data.forms import EntryName
from workers.data.sources import FolderSource
from workers.errors import DataUnreadable

_RACER = """
import sys, time
from pathlib import Path
from workers.data.cache import open_entry
from workers.data.forms import EntryName
from workers.data.sources import FolderSource
folder, cache, content, report = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
name = EntryName(content, "test", 64, "bicubic")
built = []
def source():
    built.append(1)
    return FolderSource(folder, name, cache)
(report.with_suffix(".ready")).write_text("")
while not (report.parent / "go").exists():
    time.sleep(0.001)
found = open_entry(cache, name, source, lambda done, total: time.sleep(0.02))
report.write_text(f"{len(built)} {int(found.images.sum(dtype='int64'))}")
"""


def _ignore(done: int, total: int) -> None:
    """Progress is of no interest here."""


@pytest.fixture
def name(own_data_root) -> EntryName:
    return EntryName(data_hash("local/corners", own_data_root), "test", 24, "bicubic")


def _open(root: Path, cache: Path, name: EntryName):
    return open_entry(cache, name, lambda: FolderSource(root / "corners", name, cache), _ignore)


def _never():
    raise AssertionError("the entry was there")


def test_pixels_are_those_of_torchvisions_resize(own_data_root, tmp_path, name):
    from torchvision.transforms import InterpolationMode, Resize

    found = _open(own_data_root, tmp_path / "cache", name)
    resize = Resize((24, 24), InterpolationMode.BICUBIC)
    for index in (0, 7, 19):
        image = Image.open(own_data_root / "corners" / "images" / "test" / f"{index:03d}.png").convert("RGB")
        assert np.array_equal(found.images[index], np.asarray(resize(image)))
    assert found.labels.tolist() == [index % 4 for index in range(20)]


def test_a_second_opening_decodes_nothing(own_data_root, tmp_path, name):
    first = _open(own_data_root, tmp_path / "cache", name)
    second = open_entry(tmp_path / "cache", name, _never, _ignore)
    assert np.array_equal(first.images, second.images)


def test_writing_into_an_opened_entry_leaves_the_file_alone(own_data_root, tmp_path, name):
    first = _open(own_data_root, tmp_path / "cache", name)
    before = first.images.copy()
    first.images[:] = 0
    assert np.array_equal(open_entry(tmp_path / "cache", name, _never, _ignore).images, before)


def test_two_processes_that_race_build_one_entry(own_data_root, tmp_path, name):
    reports = [tmp_path / "one", tmp_path / "two"]
    arguments = [str(own_data_root / "corners"), str(tmp_path / "cache"), name.data_hash]
    racers = [subprocess.Popen([sys.executable, "-c", _RACER, *arguments, str(report)]) for report in reports]
    try:
        while not all(report.with_suffix(".ready").exists() for report in reports):
            assert all(racer.poll() is None for racer in racers)
        (tmp_path / "go").write_text("")
        assert [racer.wait(timeout=60) for racer in racers] == [0, 0]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    (built_one, sum_one), (built_two, sum_two) = (report.read_text().split() for report in reports)
    assert {built_one, built_two} == {"0", "1"}
    assert sum_one == sum_two


def test_a_truncated_image_is_named_and_leaves_nothing_behind(own_data_root, tmp_path):
    path = own_data_root / "corners" / "images" / "test" / "005.png"
    path.write_bytes(path.read_bytes()[:300])
    name = EntryName(data_hash("local/corners", own_data_root), "test", 24, "bicubic")
    with pytest.raises(DataUnreadable, match=r"005.png cannot be decoded"):
        _open(own_data_root, tmp_path / "cache", name)
    assert not [entry for entry in (tmp_path / "cache" / "images").iterdir() if entry.is_dir()]


def test_a_damaged_entry_is_built_again(own_data_root, tmp_path, name, caplog):
    good = _open(own_data_root, tmp_path / "cache", name).images.copy()
    path = tmp_path / "cache" / "images" / name.key / "images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 255
    path.write_bytes(content)
    assert np.array_equal(_open(own_data_root, tmp_path / "cache", name).images, good)
    assert "fails its checksum" in caplog.text
    path.write_bytes(content[:500])
    assert np.array_equal(_open(own_data_root, tmp_path / "cache", name).images, good)


def test_what_a_killed_builder_left_is_cleared(own_data_root, tmp_path, name):
    part = tmp_path / "cache" / "images" / f"{name.key}.part"
    part.mkdir(parents=True)
    (part / "images.npy").write_bytes(b"half")
    assert _open(own_data_root, tmp_path / "cache", name).images.shape == (20, 24, 24, 3)
    assert not part.exists()


def test_interpolation_size_split_and_content_are_part_of_the_name(name):
    others = [
        EntryName(name.data_hash, name.split, name.size, "bilinear"),
        EntryName(name.data_hash, name.split, 32, name.interpolation),
        EntryName(name.data_hash, "val200", name.size, name.interpolation),
        EntryName("0" * 64, name.split, name.size, name.interpolation),
    ]
    assert len({entry.key for entry in (name, *others)}) == 5
