"""What the four lists of a data set show by themselves. Cheap, and free of torch, numpy and PIL: `run` asks it too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from storage.records import SEGMENTATION
from workers.data.check_findings import Finding, Level, some
from workers.data.folders import SPLITS, Listed, lists_of, read_list, splits_of
from workers.errors import DataUnreadable, WorkerError
from workers.files import sha256_of
from workers.segmentation.lists import check_pairs, task_of

CLASS_NAMES = "classes.txt"
_UNBALANCED = 10  # times as many images in the largest class as in the smallest, from which it is worth a note
_PARTS = ("train800", "val200", "test")


def check_lists(folder: Path, classes: int | None, names: tuple[str, ...] = ()) -> tuple[Finding, ...]:
    """Findings on lines, labels and splits; a list that cannot be read is a problem and ends the look at the others.

    `classes`: how many there must be; None where only `classes.txt`, if it is there, can tell. `names`:
    of the classes, by label, where folders in the lists may be named by them. Masks have none.
    """
    if task_of(folder) == SEGMENTATION:
        return check_pairs(folder)
    lists: dict[str, Listed] = dict.fromkeys(SPLITS, ())
    unreadable = []
    for split in splits_of(folder):
        try:
            lists[split] = read_list(folder, split)
        except WorkerError as error:
            unreadable.append(Finding(Level.PROBLEM, str(error)))  # the message names the file and the advice
    if unreadable:
        return tuple(unreadable)
    files = {split: str(folder / name) for split, name in lists_of(folder).items()}
    return (
        *_repeated(lists, files),
        *_in_several_splits(lists),
        *_several_labels(lists),
        *_sum(folder, lists, files),
        *_absent(folder, lists),
        *_labels(folder, lists, classes),
        *_names(folder, lists, names),
    )


def refuse_broken(name: str, folder: Path, classes: int | None, names: tuple[str, ...] = ()) -> None:
    """Raises DataUnreadable with every problem of the lists at once."""
    problems = [finding for finding in check_lists(folder, classes, names) if finding.level == Level.PROBLEM]
    if problems:
        told = [f"{one.where or folder}: {one.what}{f'; {one.advice}' if one.advice else ''}" for one in problems]
        raise DataUnreadable(f"data set {name!r} is broken: " + ". ".join(told))


def _repeated(lists: Mapping[str, Listed], files: Mapping[str, str]) -> Iterator[Finding]:
    for split in SPLITS:
        seen = Counter(relative for relative, _ in lists[split])
        twice = [relative for relative, count in seen.items() if count > 1]
        if twice:
            what = f"{len(twice):,} images are listed more than once: {some(twice)}"
            yield Finding(Level.PROBLEM, what, files[split], "keep one line of each: they are counted twice")


def _in_several_splits(lists: Mapping[str, Listed]) -> Iterator[Finding]:
    paths = {split: {relative for relative, _ in lists[split]} for split in _PARTS}
    for first, second in (("train800", "val200"), ("train800", "test"), ("val200", "test")):
        both = sorted(paths[first] & paths[second])
        if both:
            what = f"{len(both):,} images are listed in {first} and in {second}: {some(both)}"
            yield Finding(Level.PROBLEM, what, "", f"take them out of {first}: {second} must be unseen")


def _several_labels(lists: Mapping[str, Listed]) -> Iterator[Finding]:
    labels: dict[str, set[int]] = {}
    for listed in lists.values():
        for relative, label in listed:
            labels.setdefault(relative, set()).add(label)
    differing = sorted(relative for relative, found in labels.items() if len(found) > 1)
    if differing:
        what = f"{len(differing):,} images are listed with different labels: {some(differing)}"
        yield Finding(Level.PROBLEM, what, "", "correct the lists: an image has one class")


def _sum(folder: Path, lists: Mapping[str, Listed], files: Mapping[str, str]) -> Iterator[Finding]:
    whole, parts = lists["train800val200"], lists["train800"] + lists["val200"]
    if Counter(whole) == Counter(parts):
        return
    contents = _contents(folder, whole) if len(whole) == len(parts) else None
    if contents is not None and contents == _contents(folder, parts):
        return  # NOAH's script, and what was made by it, writes every training image twice
    what = "is not train800 and val200 together: final jobs would train on other images than search jobs use"
    yield Finding(Level.PROBLEM, what, files["train800val200"], "write it again as one list after the other")


def _contents(folder: Path, listed: Listed) -> Counter[tuple[str, int]] | None:
    """How often each content has each label; None where a file cannot be read."""
    try:
        return Counter((sha256_of(folder / relative), label) for relative, label in listed)
    except OSError:
        return None


def _absent(folder: Path, lists: Mapping[str, Listed]) -> Iterator[Finding]:
    listed = dict.fromkeys(relative for split in SPLITS for relative, _ in lists[split])
    absent = [relative for relative in listed if not (folder / relative).is_file()]
    if absent:
        what = f"{len(absent):,} of {len(listed):,} listed images are not there: {some(absent)}"
        yield Finding(Level.PROBLEM, what, str(folder), "copy the images again or take the lines out of the lists")


def _labels(folder: Path, lists: Mapping[str, Listed], classes: int | None) -> Iterator[Finding]:
    expected = classes if classes is not None else _named_classes(folder)
    used = {label for listed in lists.values() for _, label in listed}
    highest = max(used)
    if expected is not None and highest >= expected:
        what = f"label {highest} is out of range: there are {expected} classes, counted from 0"
        yield Finding(Level.PROBLEM, what, str(folder), "correct the lists; labels often start at 1 by mistake")
    elif expected is None and highest + 1 > 2 * len(used):
        what = f"the highest label is {highest}, and only {len(used)} labels are used: a label is out of range"
        yield Finding(Level.PROBLEM, what, str(folder), "correct the lists, or number the classes from 0 without gaps")
    if not lists["train800val200"]:
        yield Finding(Level.OK, f"{len(used)} classes; a test list alone: it can be evaluated, not trained on")
        return
    trained = Counter(label for _, label in lists["train800val200"])
    tested = Counter(label for _, label in lists["test"])
    numbers = range(min(max(highest + 1, expected or 0), 2 * len(used)))
    yield from _missing_classes(numbers, trained, tested)
    least, most = min(trained.values()), max(trained.values())
    balance = f"classes have {least} to {most} training images"
    if most > _UNBALANCED * least:
        yield Finding(Level.NOTE, balance, "", "top-1 is led by the large classes; look at per-class accuracy too")
    else:
        yield Finding(Level.OK, f"{len(used)} classes; {balance}")


def _names(folder: Path, lists: Mapping[str, Listed], names: tuple[str, ...]) -> Iterator[Finding]:
    """Labels that are not those of the class folder in the image's path."""
    label_of = {name: label for label, name in enumerate(names)}
    wrong = [
        f"{relative} is listed as {label}"
        for listed in lists.values()
        for relative, label in listed
        for part in relative.split("/")[:-1]
        if label_of.get(part, label) != label
    ]
    if wrong:
        what = f"{len(wrong):,} images are not listed under the class that their folder names: {some(wrong)}"
        yield Finding(Level.PROBLEM, what, str(folder), "number the classes in the order of their sorted names, from 0")


def _missing_classes(numbers: range, trained: Mapping[int, int], tested: Mapping[int, int]) -> Iterator[Finding]:
    """Notes, since published splits have such classes (Sun397 in VTAB-1k: 397 classes, 1,000 training images)."""
    untrained = [str(label) for label in numbers if label not in trained and label in tested]
    if untrained:
        what = f"{len(untrained)} classes are in the test list and in no training list: {some(untrained)}"
        yield Finding(Level.NOTE, what, "", "no method can get them right; the ceiling is below 100 %")
    untested = [str(label) for label in numbers if label in trained and label not in tested]
    if untested:
        what = f"{len(untested)} classes are trained and never tested: {some(untested)}"
        yield Finding(Level.NOTE, what, "", "the test split says nothing of them")
    unused = [str(label) for label in numbers if label not in trained and label not in tested]
    if unused:
        what = f"{len(unused)} labels below the highest are used by no image: {some(unused)}"
        yield Finding(Level.NOTE, what, "", "the head has a row for each; number the classes without gaps")


def _named_classes(folder: Path) -> int | None:
    """Lines of `classes.txt`; None where there is none."""
    try:
        return len((folder / CLASS_NAMES).read_text(encoding="utf-8").splitlines()) or None
    except (OSError, UnicodeDecodeError):
        return None
