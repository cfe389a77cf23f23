"""Data sets with masks on disk. Free of torch and numpy: the planner reads it.

The layout is that of other data sets (`workers.data.folders`), but each line of a list names an image and its mask,
`images/x.jpg masks/x.png`: what stands in the second column says which kind of data set a folder holds.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from storage.records import CLASSIFICATION, SEGMENTATION
from workers.data.check_findings import Finding, Level, some
from workers.data.folders import PLAIN_LISTS, SPLITS, lists_of
from workers.errors import DataMissing, DataUnreadable
from workers.files import RememberedHashes, sha256_of

Pairs = tuple[tuple[str, str], ...]
"""(image, mask) per line, paths relative to the folder."""

_LAYOUT = "'relative/image relative/mask', one space between them and none inside"
_PARTS = ("train800", "val200", "test")


def task_of(folder: Path) -> str:
    """What the test list shows: a path in the second column of its first line means masks. Classification where the
    list cannot be read: whoever reads it says why."""
    try:
        with (folder / PLAIN_LISTS["test"]).open(encoding="utf-8") as file:
            first = file.readline().strip()
    except (OSError, UnicodeDecodeError):
        return CLASSIFICATION
    image, _, second = first.rpartition(" ")
    return SEGMENTATION if image and "/" in second else CLASSIFICATION


def read_pairs(folder: Path, split: str) -> Pairs:
    """The images of one split with their masks; `train800val200` is train.txt and val.txt where it has no list.

    Raises DataMissing when the list is not there, DataUnreadable with every line that is none.
    """
    lists = lists_of(folder)
    path = folder / lists[split]
    if split == "train800val200" and lists is PLAIN_LISTS and not path.exists():
        return read_pairs(folder, "train800") + read_pairs(folder, "val200")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataMissing(
            f"list {path.name} of data set {folder.name!r} is missing: looked in {folder}. Expected "
            f"{', '.join(lists.values())} (trainval.txt may be left out), lines {_LAYOUT}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataUnreadable(f"{path} cannot be read ({error}); correct it or its rights") from None
    split_lines = [line.split() for line in lines]
    wrong = [number for number, parts in enumerate(split_lines, start=1) if len(parts) != 2 or "/" not in parts[1]]
    if wrong or not lines:
        where = f"line {some([str(number) for number in wrong])}" if wrong else "it is empty"
        raise DataUnreadable(f"{path}, {where}: expected {_LAYOUT}; write the list again")
    return tuple((image, mask) for image, mask in split_lines)


def masks_hash(folder: Path, cache: Path | None) -> str:
    """64 hex of SHA-256 over the four lists, every listed image and every mask; files are read once (remembered in
    `cache`). Raises DataMissing naming all that is absent, and what `read_pairs` raises."""
    lists = {split: read_pairs(folder, split) for split in SPLITS}
    absent = absent_files(folder, lists)
    if absent:
        raise DataMissing(
            f"data set {folder.name!r}: {len(absent)} listed images or masks are not in {folder}: {some(absent)}; copy "
            "them again or take their lines out of the lists"
        )
    remembered = RememberedHashes(cache, str(folder.resolve())) if cache is not None else None
    of_file: dict[str, str] = {}
    whole = hashlib.sha256(b"masks\n")
    for split, pairs in lists.items():
        whole.update(f"[{split}]\n".encode())
        for pair in pairs:
            for relative in pair:
                if relative not in of_file:
                    place = folder / relative
                    of_file[relative] = remembered.of(place) if remembered else sha256_of(place)
            whole.update(f"{' '.join(pair)} {' '.join(of_file[relative] for relative in pair)}\n".encode())
    if remembered is not None:
        remembered.save()
    return whole.hexdigest()


def absent_files(folder: Path, lists: Mapping[str, Pairs]) -> list[str]:
    """Listed images and masks that are not there."""
    listed = dict.fromkeys(relative for pairs in lists.values() for pair in pairs for relative in pair)
    return [relative for relative in listed if not (folder / relative).is_file()]


def check_pairs(folder: Path) -> tuple[Finding, ...]:
    """What the lists show by themselves: broken lines, repeated or absent files, images or masks in two splits."""
    lists: dict[str, Pairs] = {}
    unreadable = []
    for split in SPLITS:
        try:
            lists[split] = read_pairs(folder, split)
        except (DataMissing, DataUnreadable) as error:
            unreadable.append(Finding(Level.PROBLEM, str(error)))
    return tuple(unreadable) if unreadable else tuple(_findings(folder, lists))


def _findings(folder: Path, lists: Mapping[str, Pairs]) -> Iterator[Finding]:
    files = lists_of(folder)
    for split in SPLITS:
        for column, what in ((0, "images"), (1, "masks")):
            counted = Counter(pair[column] for pair in lists[split])
            twice = [relative for relative, count in counted.items() if count > 1]
            if twice:
                told = f"{len(twice):,} {what} are listed more than once: {some(twice)}"
                yield Finding(Level.PROBLEM, told, str(folder / files[split]), "keep one line of each")
    for at, first in enumerate(_PARTS):
        for second in _PARTS[at + 1 :]:
            both = sorted({image for image, _ in lists[first]} & {image for image, _ in lists[second]})
            if both:
                told = f"{len(both):,} images are listed in {first} and in {second}: {some(both)}"
                yield Finding(Level.PROBLEM, told, "", f"take them out of {first}: {second} must be unseen")
    if Counter(lists["train800val200"]) != Counter(lists["train800"] + lists["val200"]):
        told = "is not train and val together: final jobs would train on other images than search jobs use"
        yield Finding(
            Level.PROBLEM, told, str(folder / files["train800val200"]), "write it as one list after the other"
        )
    absent = absent_files(folder, lists)
    if absent:
        told = f"{len(absent):,} listed images or masks are not there: {some(absent)}"
        yield Finding(Level.PROBLEM, told, str(folder), "copy them again or take their lines out of the lists")
    total = sum(len(lists[split]) for split in _PARTS)
    yield Finding(Level.OK, f"{total:,} images with a mask each")
