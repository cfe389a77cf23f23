"""Which data sets there are and what names them."""

from __future__ import annotations

from pathlib import Path

import pytest

from workers.data.catalogue import data_hash, expand, info, names, suites
from workers.errors import DataMissing, DataUnreadable, UnknownDataset


def test_the_embedded_suite_needs_nothing():
    assert expand("@embedded/*") == suites()["embedded"].datasets
    assert len(expand("@embedded/*")) == 3
    for name in expand("@embedded/*"):
        known = info(name)
        assert (known.train, known.val, known.suite) == (800, 200, "embedded")
        assert len(data_hash(name)) == 64
    assert len({data_hash(name) for name in expand("@embedded/*")}) == 3


def test_folders_in_vtab_layout_are_local_data_sets(data_root, monkeypatch):
    known = info("local/corners", data_root)
    assert (known.classes, known.train, known.val, known.test) == (4, 24, 8, 20)
    assert expand("@local/*", data_root) == ("local/corners",)
    monkeypatch.setenv("SWEEPBOARD_DATA", str(data_root))
    assert "local/corners" in names()
    assert expand("local/corners") == ("local/corners",)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("embedded/digit", "Did you mean 'embedded/digits'"),
        ("@embeded/*", "Did you mean 'embedded'"),
        ("@embedded/natural", "no data set"),
        ("@local/*", "SWEEPBOARD_DATA"),
    ],
)
def test_a_wrong_name_says_what_was_meant(pattern, words, monkeypatch):
    monkeypatch.delenv("SWEEPBOARD_DATA", raising=False)
    with pytest.raises(UnknownDataset, match=words):
        expand(pattern)


def test_missing_data_say_what_where_and_what_to_do(data_root, monkeypatch):
    monkeypatch.delenv("SWEEPBOARD_DATA", raising=False)
    with pytest.raises(DataMissing, match="SWEEPBOARD_DATA names, which is not set"):
        info("local/corners")
    with pytest.raises(DataMissing, match="known there: corners"):
        info("local/corner", data_root)


def test_a_missing_list_and_a_line_that_is_none_are_named(own_data_root):
    listed = own_data_root / "corners" / "val200.txt"
    listed.write_text("images/val200/000.png zero\n")
    with pytest.raises(DataUnreadable, match=r"val200.txt, line 1"):
        info("local/corners", own_data_root)
    listed.unlink()
    with pytest.raises(DataMissing, match=r"list val200.txt of data set 'corners' is missing"):
        info("local/corners", own_data_root)


def _flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def test_the_hash_names_lists_and_images(own_data_root, tmp_path):
    folder, cache = own_data_root / "corners", tmp_path / "cache"
    first = data_hash("local/corners", own_data_root, cache)
    assert data_hash("local/corners", own_data_root) == first, "with or without memory"
    _flip_a_byte(folder / "images" / "test" / "003.png")
    second = data_hash("local/corners", own_data_root, cache)
    assert second != first
    lines = (folder / "train800.txt").read_text().splitlines()
    (folder / "train800.txt").write_text("\n".join([lines[0].replace(" 0", " 1"), *lines[1:]]))
    assert data_hash("local/corners", own_data_root, cache) not in (first, second)


def test_a_file_is_read_once_while_its_size_and_time_stay(own_data_root, tmp_path, monkeypatch):
    from workers import files

    cache, read = tmp_path / "cache", []
    real = files.sha256_of
    monkeypatch.setattr(files, "sha256_of", lambda path: read.append(path) or real(path))
    first = data_hash("local/corners", own_data_root, cache)
    assert len(read) == 24 + 8 + 20
    assert data_hash("local/corners", own_data_root, cache) == first
    assert len(read) == 24 + 8 + 20


def test_a_listed_image_that_is_not_there_is_named(own_data_root):
    (own_data_root / "corners" / "images" / "test" / "003.png").unlink()
    with pytest.raises(DataMissing, match=r"'images/test/003.png', listed in test.txt"):
        data_hash("local/corners", own_data_root)
