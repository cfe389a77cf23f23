"""Data sets on disk: list files beside a folder of images. Free of torch and numpy.

Lines are `relative/path label`, as NOAH's `get_vtab1k.py` writes them. The lists are named as in VTAB-1k, or plainly
where the splits have other sizes (FGVC); the splits keep their names in jobs and in the content's hash either way.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from workers.errors import DataMissing, DataUnreadable
from workers.files import RememberedHashes, sha256_of

SPLITS = ("train800", "val200", "train800val200", "test")
DATA_VARIABLE = "SWEEPBOARD_DATA"
VTAB_LISTS = {split: f"{split}.txt" for split in SPLITS}
PLAIN_LISTS = {"train800": "train.txt", "val200": "val.txt", "train800val200": "trainval.txt", "test": "test.txt"}
"""Split -> its list file. `trainval.txt` may be left out: it is train.txt followed by val.txt."""

Listed = tuple[tuple[str, int], ...]
"""(path relative to the folder, label) per image, in the order of the list file."""


def data_root(given: Path | None) -> Path | None:
    """The folder that holds data sets: the one given, else what SWEEPBOARD_DATA names, else None."""
    if given is not None:
        return given
    named = os.environ.get(DATA_VARIABLE)
    return Path(named) if named else None


def folders(root: Path | None) -> tuple[str, ...]:
    """Names of the folders under `root` that hold a test list, sorted."""
    if root is None or not root.is_dir():
        return ()
    return tuple(sorted(path.parent.name for path in root.glob("*/test.txt")))


def lists_of(folder: Path) -> Mapping[str, str]:
    """Split -> list file of this folder: plain names where it has a train.txt and no train800.txt, else VTAB's."""
    try:
        has_vtab_list = (folder / VTAB_LISTS["train800"]).exists()
        return VTAB_LISTS if has_vtab_list or not (folder / PLAIN_LISTS["train800"]).exists() else PLAIN_LISTS
    except PermissionError:  # reading a list says so
        return VTAB_LISTS


def splits_of(folder: Path) -> tuple[str, ...]:
    """The splits that a folder with lists has: all four, or the test split alone where it has no other list."""
    others = {*VTAB_LISTS.values(), *PLAIN_LISTS.values()} - {PLAIN_LISTS["test"]}
    is_test_only = (folder / PLAIN_LISTS["test"]).is_file() and not any((folder / name).exists() for name in others)
    return ("test",) if is_test_only else SPLITS


def read_list(folder: Path, split: str) -> Listed:
    """The images of one split. Raises DataMissing when the list is not there, DataUnreadable when a line is not one."""
    lists = lists_of(folder)
    path = folder / lists[split]
    if lists is PLAIN_LISTS and split == "train800val200" and not path.exists():
        return read_list(folder, "train800") + read_list(folder, "val200")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        layout = "VTAB layout" if lists is VTAB_LISTS else "layout"
        raise DataMissing(
            f"list {path.name} of data set {folder.name!r} is missing: looked in {folder}. Expected the {layout} "
            f"({', '.join(lists.values())} and the images they list); set {DATA_VARIABLE} to the "
            "folder that holds the data sets"
        ) from None
    except UnicodeDecodeError as error:
        raise DataUnreadable(f"{path} is not UTF-8 text ({error.reason}); write the list again") from None
    except OSError as error:
        raise DataUnreadable(f"{path} cannot be read ({error.strerror}); correct the path or its rights") from None
    found = []
    for number, line in enumerate(lines, start=1):
        relative, _, label = line.strip().rpartition(" ")
        if not relative or not label.isdecimal():
            raise DataUnreadable(f"{path}, line {number}: {line!r} is not 'relative/path label'; write the list again")
        found.append((relative, int(label)))
    if not found:
        raise DataUnreadable(f"{path} lists no image; write the list again")
    return tuple(found)


def content_hash(folder: Path, cache: Path | None) -> str:
    """64 hex of SHA-256 over the lists (four, or the test list alone) and every listed image; a file is read once
    (remembered in `cache`).

    Raises DataMissing when a listed image is not there, and what `read_list` raises.
    """
    remembered = RememberedHashes(cache, str(folder.resolve())) if cache is not None else None
    whole = hashlib.sha256()
    of_file: dict[str, str] = {}
    for split in splits_of(folder):
        whole.update(f"[{split}]\n".encode())
        for relative, label in read_list(folder, split):
            if relative not in of_file:
                of_file[relative] = _hash_of(folder, relative, split, remembered)
            whole.update(f"{relative} {label} {of_file[relative]}\n".encode())
    if remembered is not None:
        remembered.save()
    return whole.hexdigest()


def _hash_of(folder: Path, relative: str, split: str, remembered: RememberedHashes | None) -> str:
    try:
        return remembered.of(folder / relative) if remembered else sha256_of(folder / relative)
    except FileNotFoundError:
        raise DataMissing(
            f"image {relative!r}, listed in {split}.txt of data set {folder.name!r}, is not in {folder}; copy the "
            "images again or take the line out of the list"
        ) from None
    except (PermissionError, IsADirectoryError, NotADirectoryError) as error:
        raise DataUnreadable(
            f"image {folder / relative} cannot be read ({error.strerror}); correct the list, or the rights"
        ) from None
