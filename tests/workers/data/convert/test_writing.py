"""Kill it, fill the disk, run it twice, run two at once: whole files, lists last, and the same outcome."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workers.data.convert.miniatures import card, class_tree, contents, put
from workers.data.catalogue import names
from workers.data.convert.convert import ConversionRequest, convert
from workers.errors import ConversionFailed


class Killed(BaseException):
    """Stands for anything that ends the process between two files."""


def ask(source: Path, root: Path, **more: object) -> ConversionRequest:
    return ConversionRequest(source=source, root=root, name="mine", **more)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return class_tree(tmp_path / "source", splits=("train", "test"))


@pytest.fixture
def expected(source, tmp_path) -> dict[str, str]:
    convert(ask(source, tmp_path / "reference"), lambda done, total: None)
    return contents(tmp_path / "reference" / "mine")


def test_the_second_time_nothing_is_done(source, root, expected, take):
    assert take(source).written == len(expected)
    before = {path: path.stat().st_mtime_ns for path in (root / "mine").rglob("*")}
    assert take(source).written == 0
    assert {path: path.stat().st_mtime_ns for path in (root / "mine").rglob("*")} == before
    assert contents(root / "mine") == expected


def test_what_was_lost_afterwards_is_written_again(source, root, expected, take):
    take(source)
    lost = root / "mine" / "images" / "test" / "a" / "0 x.png"
    lost.unlink()
    assert take(source).written == 1
    assert contents(root / "mine") == expected


def test_a_conversion_that_broke_off_is_not_found_and_goes_on(source, root, expected, take):
    def stop_at_7(done: int, total: int) -> None:
        if done == 7:
            raise Killed

    with pytest.raises(Killed):
        convert(ask(source, root), stop_at_7)
    assert "local/mine" not in names(root)
    assert card(root / "mine")["state"] == "unfinished"
    assert take(source).written == len(expected) - 7
    assert card(root / "mine")["state"] == "done"
    assert contents(root / "mine") == expected
    assert "local/mine" in names(root)


def test_a_killed_process_leaves_whole_files_only_and_the_next_one_goes_on(tmp_path, root, take):
    source = tmp_path / "large"
    for index in range(60):
        put(source / ("train", "test")[index % 2] / f"c{index % 3}" / f"{index}.png", bytes([index]) * 200_000)
    code = (
        "import sys, time, pathlib; from workers.data.convert.convert import ConversionRequest, convert; "
        "path = pathlib.Path; convert(ConversionRequest(source=path(sys.argv[1]), root=path(sys.argv[2]), name='mine'),"
        " lambda done, total: (print(done, flush=True), time.sleep(0.03)))"
    )
    with subprocess.Popen([sys.executable, "-c", code, source, root], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 5:
            pass
        process.send_signal(signal.SIGKILL)
    images = list((root / "mine" / "images").rglob("*.png"))
    assert 5 <= len(images) < 60
    assert all(
        path.read_bytes() == (source / path.relative_to(root / "mine" / "images")).read_bytes() for path in images
    )
    assert not (root / "mine" / "test.txt").exists()
    put(root / "mine" / ".converting" / "7", b"half a file")  # where a kill hits a copy
    assert take(source).written == 60 - len(images) + 5, "the rest, four lists and the names of the classes"
    assert len(list((root / "mine" / "images").rglob("*.png"))) == 60
    assert not (root / "mine" / ".converting").exists()


def test_a_full_disk_is_a_clear_error_and_the_same_command_goes_on(source, root, expected, take, monkeypatch):
    copied = []

    def copy(content: Path, draft: Path) -> None:
        copied.append(draft)
        if len(copied) == 9:
            draft.write_bytes(content.read_bytes()[:20])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(content))
        draft.write_bytes(content.read_bytes())

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", copy)
        with pytest.raises(ConversionFailed, match=r"the disk is full.*mine is not complete.*same command goes on"):
            take(source)
    assert not (root / "mine" / "test.txt").exists()
    assert take(source).written == len(expected) - 8
    assert contents(root / "mine") == expected


def test_two_at_once_do_not_meet(source, root, take):
    (root / "mine").mkdir(parents=True)
    handle = os.open(root / "mine", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(ConversionFailed, match="another process converts into"):
        take(source)
    os.close(handle)
    assert take(source).written


def test_another_conversion_of_that_name_is_refused(source, root, expected, tmp_path, take):
    take(source)
    with pytest.raises(ConversionFailed, match=r"holds another conversion \(done, from .*source\)"):
        take(class_tree(tmp_path / "other", splits=("train", "test"), each=4))
    with pytest.raises(ConversionFailed, match="holds another conversion"):
        take(source, seed=1)
    assert contents(root / "mine") == expected


def test_a_folder_of_something_else_is_left_alone(source, root, take):
    put(root / "mine" / "thesis.tex", b"years of work")
    with pytest.raises(ConversionFailed, match=r"not empty and no conversion \(thesis.tex lies there\)"):
        take(source)
    assert [path.name for path in (root / "mine").iterdir()] == ["thesis.tex"]


def test_links_take_no_space_and_copies_are_files_of_their_own(source, root, take):
    take(source, link=True)
    take(source, "copied")
    original = source / "test" / "b" / "3 x.JPG"
    assert (root / "mine" / "images" / "test" / "b" / "3 x.JPG").samefile(original)
    assert not (root / "copied" / "images" / "test" / "b" / "3 x.JPG").samefile(original)


def test_a_folder_that_cannot_be_written_is_told(source, root, take):
    root.parent.mkdir(exist_ok=True)
    root.write_text("a file where the folder should be")
    with pytest.raises(ConversionFailed, match="data"):
        take(source)


def test_the_card_says_what_was_done(source, root, take):
    take(source)
    written = card(root / "mine")
    assert written["version"] == 1
    assert (written["kind"], written["source"], written["seed"]) == ("folders", str(source), 0)
    assert (written["splits"], written["images"], written["classes"]) == ({"train": 18, "val": 2, "test": 20}, 40, 2)
    hashes = contents(root / "mine")
    assert written["sha256"] == {name: hashes[name] for name in written["sha256"]}
    assert "test.txt" in written["sha256"]


def test_lists_appear_after_the_images_and_test_txt_last(source, root, take):
    take(source)
    times = {path.name: path.stat().st_mtime_ns for path in (root / "mine").glob("*.txt")}
    images = [path.stat().st_ctime_ns for path in (root / "mine" / "images").rglob("*.*")]
    assert max(times, key=lambda name: times[name]) == "test.txt"
    assert max(images) <= min(times.values()) <= time.time_ns()
