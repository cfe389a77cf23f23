"""The cache is bounded: what goes, what stays, and what several processes do to each other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from workers.data.cache import entry_folder, open_entry
from workers.data.catalogue import data_hash
from workers.data.forms import LARGE, EntryName
from workers.data.sources import FolderSource

ENTRY = 20 * 3 * 128 * 128  # bytes of pixels
BOUND = 5 * ENTRY // 2  # two entries and what lies beside their pixels

_READER = """
import sys, time
from pathlib import Path
from workers.data.cache import open_entry
from workers.data.forms import EntryName
from workers.data.sources import FolderSource
folder, cache, content, form, size = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
name = EntryName(content, "test", size, "bicubic", form, size + 3 if form == "centre" else 0)
built = []
def source():
    built.append(1)
    return FolderSource(folder, name, cache)
print("ready", flush=True)
sys.stdin.readline()
found = open_entry(cache, name, source, lambda done, total: time.sleep(float(sys.argv[6])))
total = sum(int(image.sum(dtype="int64")) for image in next(found.each([range(20)])))
print(len(built), total, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def content(data_root) -> str:
    return data_hash("local/corners", data_root)


@pytest.fixture
def opened(data_root, tmp_path, content):
    """opened(size): the entry of that size in a cache that holds two; None where there is no room."""

    def open_it(size: int, form: str = "squash", bound_bytes: int | None = BOUND):
        name = EntryName(content, "test", size, "bicubic", form)
        source = lambda: FolderSource(data_root / "corners", name, tmp_path)  # noqa: E731
        return open_entry(tmp_path, name, source, lambda done, total: None, bound_bytes)

    return open_it


@pytest.fixture
def is_there(tmp_path, content):
    return lambda size: entry_folder(tmp_path, EntryName(content, "test", size, "bicubic")).is_dir()


@contextmanager
def _reader(root: Path, cache: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A real second process that opens an entry when it is sent a line, and ends when it is sent another."""
    command = [sys.executable, "-c", _READER, str(root / "corners"), str(cache), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def _tell(process: subprocess.Popen[str]) -> None:
    process.stdin.write("\n")
    process.stdin.flush()


def test_the_entry_that_was_opened_longest_ago_goes_first(opened, is_there, tmp_path, content):
    opened(128), opened(127)
    for age, size in ((200, 128), (100, 127)):
        card = entry_folder(tmp_path, EntryName(content, "test", size, "bicubic")) / "card.json"
        os.utime(card, (card.stat().st_mtime - age,) * 2)
    opened(128)  # used again
    assert opened(126) is not None
    assert [is_there(size) for size in (128, 127, 126)] == [True, False, True]


def test_what_another_process_has_open_stays(opened, is_there, data_root, tmp_path, content):
    with _reader(data_root, tmp_path, content, "squash", "128", "0") as process:
        _tell(process)
        process.stdout.readline()
        opened(127)
        assert opened(126) is not None
        assert is_there(128), "the oldest, but open"
        kept = opened(126)
        assert not is_there(127)
        assert opened(125) is None, "two are open, and there is no room for a third"
        del kept
        process.kill()
        process.wait()
        assert opened(125) is not None
        assert not is_there(128), "its reader is gone"


def test_what_is_larger_than_the_bound_evicts_nothing(opened, is_there):
    opened(128)
    assert opened(256) is None
    assert is_there(128)


def test_without_a_bound_half_of_the_free_disk_is_room_enough(opened):
    assert opened(128, bound_bytes=None) is not None


def test_an_open_entry_is_read_on_after_it_was_deleted_by_hand(opened, tmp_path):
    found = opened(128)
    before = found.images.copy()
    shutil.rmtree(tmp_path / "images")
    assert np.array_equal(found.images, before)
    assert np.array_equal(opened(128).images, before)


def test_leftovers_of_dead_builders_go_and_those_of_living_ones_stay(opened, data_root, tmp_path, content):
    images = tmp_path / "images"
    (images / "aaaa.part").mkdir(parents=True)
    (images / "aaaa.part" / "images.npy").write_bytes(b"half" * 1000)
    (images / "aaaa.lock").write_text("")
    (images / "bbbb.gone").mkdir()
    living = EntryName(content, "test", 128, "bicubic")
    part = entry_folder(tmp_path, living).with_suffix(".part")
    with _reader(data_root, tmp_path, content, "squash", "128", "0.05") as process:
        _tell(process)
        while not part.exists():
            assert process.poll() is None
        opened(127)
        assert part.exists() or entry_folder(tmp_path, living).exists()
        assert process.stdout.readline().startswith("1 ")
    left = sorted(path.suffix for path in images.iterdir())
    assert left == ["", ""], "two entries, no part, no lock"


def test_a_builder_that_is_killed_leaves_no_entry_and_the_next_one_builds(opened, data_root, tmp_path, content):
    name = EntryName(content, "test", 128, "bicubic")
    with _reader(data_root, tmp_path, content, "squash", "128", "0.2") as process:
        _tell(process)
        while not entry_folder(tmp_path, name).with_suffix(".part").exists():
            assert process.poll() is None
    assert not entry_folder(tmp_path, name).exists()
    assert opened(128).images.shape == (20, 128, 128, 3)
    assert [path.suffix for path in (tmp_path / "images").iterdir()] == [""]


def test_bytes_that_a_living_builder_has_still_to_write_are_not_free(opened, data_root, tmp_path, content):
    with _reader(data_root, tmp_path, content, "squash", "160", "0.1") as process:  # takes more than half of the bound
        _tell(process)
        while not list((tmp_path / "images").glob("*.part/reserved")):
            assert process.poll() is None
        assert opened(128, bound_bytes=int(2.2 * ENTRY)) is None
    assert opened(128, bound_bytes=int(2.2 * ENTRY)) is not None


@pytest.mark.parametrize("form", ["centre", LARGE])
def test_two_processes_build_one_entry_of_the_new_forms(data_root, tmp_path, content, form):
    arguments = (data_root, tmp_path, content, form, "24", "0.02")
    with _reader(*arguments) as one, _reader(*arguments) as two:
        _tell(one), _tell(two)
        answers = [process.stdout.readline().split() for process in (one, two)]
    assert sorted(built for built, _ in answers) == ["0", "1"]
    assert len({total for _, total in answers}) == 1


@pytest.mark.parametrize("damage", ["pixels", "length", "shapes"])
def test_a_damaged_packed_entry_is_built_again(opened, tmp_path, content, caplog, damage):
    def pixels() -> np.ndarray:
        return np.concatenate([image.reshape(-1) for image in next(opened(64, LARGE).each([np.arange(20)]))])

    good = pixels()
    assert len(good) == 20 * 3 * 40 * 36, "smaller than 64, so as they were"
    folder = entry_folder(tmp_path, EntryName(content, "test", 64, "bicubic", LARGE))
    path = folder / ("shapes.npy" if damage == "shapes" else "images.bin")
    raw = bytearray(path.read_bytes())
    raw[-8] ^= 1
    path.write_bytes(raw[:500] if damage == "length" else raw)
    assert np.array_equal(pixels(), good)
    assert "it is built again" in caplog.text


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare: a small disk cannot be made")
def test_a_disk_that_is_too_small_is_told_with_numbers_and_left_clean(data_root, tmp_path, content):
    code = f"""
import os
from pathlib import Path
from workers.data.cache import open_entry
from workers.data.forms import EntryName
from workers.data.sources import FolderSource
from workers.errors import DiskFull
disk = Path("{tmp_path}/disk")
class Late(FolderSource):
    nbytes = 1000  # an estimate that is far too low: the disk fills up while the entry is written
for kind in (FolderSource, Late):
    name = EntryName("{content}", "test", 256, "bicubic")
    source = lambda: kind(Path("{data_root}/corners"), name, Path("{tmp_path}"))
    try:
        open_entry(disk, name, source, lambda done, total: None, 10**9)
    except DiskFull as error:
        print(error)
    print(os.listdir(disk / "images"))
"""
    (tmp_path / "disk").mkdir()
    script = f'mount -t tmpfs -o size=1m none "{tmp_path}/disk" || exit 77; exec "{sys.executable}" -c "$CODE"'
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        env={**os.environ, "CODE": code},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount a small disk")
    told = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert told[0].startswith("the disk is full: an image cache entry of 3.8 MiB does not fit under")
    assert "SWEEPBOARD_CACHE_GIB" in told[0]
    assert "the disk is full" in told[2]
    assert told[1] == told[3] == "[]"
