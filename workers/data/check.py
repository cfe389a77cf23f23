"""The doctor of data: can numbers on this data set be trusted? Pure of orchestration; findings, not prints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from storage.records import SEGMENTATION, canonical_json
from storage.records.whole import write_whole
from workers.data.catalogue import EMBEDDED_SUITE, class_folders, data_hash, dataset_folder, described
from workers.data.check_copies import Splits, check_copies
from workers.data.check_findings import Finding, Level, some
from workers.data.check_images import check_images, look_at
from workers.data.check_lists import check_lists
from workers.data.class_folders import ClassFolders
from workers.data.class_names import class_names
from workers.data.few_shot import few_shot
from workers.data.folders import SPLITS, read_list, splits_of
from workers.errors import WorkerError
from workers.files import RememberedHashes
from workers.segmentation.images import unfit
from workers.segmentation.lists import read_pairs, task_of

_REVISION = 1
"""Part of what a remembered report is named by: raised when a check is added or a threshold moves."""

_MOST_DECODED = 20_000  # images of a set in class folders: ImageNet-C has 3,750,000

Told = Callable[[int, int], None]
"""Told (images done, images in all) while files are decoded."""


@dataclass(frozen=True)
class DataReport:
    """All findings on one data set; `data_hash` is "" where the content cannot be named."""

    name: str
    data_hash: str
    findings: tuple[Finding, ...]

    @property
    def is_trusted(self) -> bool:
        return all(finding.level != Level.PROBLEM for finding in self.findings)


def check_dataset(name: str, root: Path | None, cache: Path, told: Told) -> DataReport:
    """Everything that can be said of one data set; a report on the same content is remembered in `cache`.

    Raises UnknownDataset and DataMissing where there is no folder to look at.
    """
    few = few_shot(name)
    if few is not None:  # the draw is a pure function of the base's lists
        report = check_dataset(few.base, root, cache, told)
        return replace(report, name=few.name, data_hash=data_hash(few.name, root, cache))
    if name.startswith(f"{EMBEDDED_SUITE}/"):
        return DataReport(name, data_hash(name), (Finding(Level.OK, "drawn by formula: there are no files"),))
    in_folders = class_folders(name, root)
    if in_folders is not None:
        return _check_class_folders(name, in_folders, (root, cache), told)
    folder = dataset_folder(name, root)
    known = described(name, root)
    classes = None if known is None else known.classes
    names = class_names(known.class_names) if known is not None and known.class_names else ()
    lists = check_lists(folder, classes, names)
    try:
        content = data_hash(name, root, cache)
    except WorkerError as error:
        told_already = any(finding.level == Level.PROBLEM for finding in lists)
        return DataReport(name, "", lists if told_already else (*lists, Finding(Level.PROBLEM, str(error))))
    place = _place(cache, folder, content)
    files = _remembered(place)
    if files is None:
        files = _check_files(folder, cache, told)
        write_whole(place, json.dumps([asdict(finding) for finding in files]))
    return DataReport(name, content, (*lists, *files))


def _check_class_folders(
    name: str, in_folders: ClassFolders, place: tuple[Path | None, Path], told: Told
) -> DataReport:
    """A test set alone: classes and numbers of images, then the files; of very many, some from the whole set."""
    root, cache = place
    try:
        content = data_hash(name, root, cache)
    except WorkerError as error:
        return DataReport(name, "", (Finding(Level.PROBLEM, str(error)),))
    every = [relative for relative, _ in in_folders.every()]
    step = max(1, len(every) // _MOST_DECODED)
    facts, damaged = look_at(in_folders.folder, every[::step], told)
    sizes = f"{len(every):,} images of {len(in_folders.classes())} classes in {len(in_folders.parts)} parts"
    findings = [Finding(Level.OK, f"{sizes}, a test set alone")]
    if step > 1:
        findings.append(Finding(Level.NOTE, f"every {step}th image was decoded: {len(facts) + len(damaged):,} of them"))
    return DataReport(name, content, (*findings, *check_images(facts, damaged)))


def _check_files(folder: Path, cache: Path, told: Told) -> tuple[Finding, ...]:
    has_masks = task_of(folder) == SEGMENTATION
    read = read_pairs if has_masks else read_list
    has = splits_of(folder)
    listed = {
        split: list(dict.fromkeys(relative for relative, _ in read(folder, split))) if split in has else []
        for split in SPLITS
    }
    every = list(dict.fromkeys(relative for split in SPLITS for relative in listed[split]))
    facts, damaged = look_at(folder, every, told)
    readable = {one.relative for one in facts}
    hashes = RememberedHashes(cache, str(folder.resolve()))
    content = {relative: hashes.of(folder / relative) for relative in readable}
    whole = {split: [relative for relative in names if relative in readable] for split, names in listed.items()}
    masks = _check_masks(folder) if has_masks else ()
    return (*check_images(facts, damaged), *check_copies(Splits(folder, whole, content)), *masks)


def _check_masks(folder: Path) -> tuple[Finding, ...]:
    pairs = tuple(dict.fromkeys(pair for split in SPLITS for pair in read_pairs(folder, split)))
    problems = unfit(folder, pairs)
    if problems:
        return (Finding(Level.PROBLEM, f"{len(problems):,} masks do not fit: {some(problems)}", str(folder)),)
    return (Finding(Level.OK, f"{len(pairs):,} masks are as large as their images"),)


def _place(cache: Path, folder: Path, content: str) -> Path:
    named = canonical_json({"revision": _REVISION, "content": content, "folder": str(folder.resolve())})
    return cache / "checks" / f"{hashlib.sha256(named.encode()).hexdigest()[:24]}.json"


def _remembered(place: Path) -> tuple[Finding, ...] | None:
    """Findings of an earlier look; None where there was none, or its file is damaged (then it is looked at again)."""
    try:
        return tuple(Finding(**{**record, "level": Level(record["level"])}) for record in json.loads(place.read_text()))
    except (OSError, ValueError, TypeError, KeyError):
        return None
