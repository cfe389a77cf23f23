"""What is here of a data set, where, and how to get what is not: for a person who sets a machine up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from storage.records import CLASSIFICATION, SEGMENTATION
from workers.data.catalogue import EMBEDDED_SUITE, class_folders, dataset_folder, described, group_of, info
from workers.data.folders import (
    DATA_VARIABLE,
    PLAIN_LISTS,
    VTAB_LISTS,
    content_hash,
    data_root,
    lists_of,
    read_list,
    splits_of,
)
from workers.data.locations import expected_folder, expected_lists, found_folders
from workers.data.suite_files import CLASS_FOLDERS, SuiteDataset
from workers.errors import DataMissing, WorkerError
from workers.segmentation.lists import masks_hash, read_pairs, task_of

HERE, MISSING, UNUSABLE = "here", "missing", "unusable"
_KEYS = {split: Path(name).stem for split, name in PLAIN_LISTS.items()}


@dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """`state` is "here", "missing" or "unusable" (`problem` says why); its images are not looked at.

    `sizes`: "train", "val", "trainval", "test" -> number of images, None where nobody knows before it is here.
    `folders`: where it was found, the first is read; none for what is drawn by formula. `expected`: the folder to put
    it in; `source` and `licence` are "" where no suite's file speaks of them.
    """

    name: str
    title: str
    group: str
    classes: int | None
    sizes: Mapping[str, int | None]
    state: str
    problem: str = ""
    folders: tuple[Path, ...] = ()
    lists: tuple[str, ...] = ()
    expected: Path | None = None
    source: str = ""
    licence: str = ""
    task: str = CLASSIFICATION

    @property
    def suite(self) -> str:
        return self.name.partition("/")[0]


def whereabouts(name: str, root: Path | None = None) -> Whereabouts:
    """Of one data set, by its name or an alias; from its lists and its suite's file. Raises UnknownDataset."""
    root = data_root(root)
    dataset = described(name, root)
    if name.startswith(f"{EMBEDDED_SUITE}/"):
        known = info(name)
        sizes = {"train": known.train, "val": known.val, "trainval": known.train + known.val, "test": known.test}
        title = "drawn by formula, ships with the package"
        return Whereabouts(
            name=name, title=title, group=known.group, classes=known.classes, sizes=MappingProxyType(sizes), state=HERE
        )
    return _of_suite(dataset, root) if dataset is not None else _of_local(name, root)


def differing_copies(found: Whereabouts, cache: Path | None) -> tuple[Path, ...]:
    """Folders whose content is not that of the first one, which is read. Images are read once (remembered in `cache`).

    Raises DataMissing, DataUnreadable.
    """
    if len(found.folders) < 2:
        return ()
    first, *others = (_content(found, folder, cache) for folder in found.folders)
    return tuple(folder for folder, other in zip(found.folders[1:], others, strict=True) if other != first)


def _content(found: Whereabouts, folder: Path, cache: Path | None) -> str:
    if task_of(folder) == SEGMENTATION:
        return masks_hash(folder, cache)
    in_folders = None if found.lists else class_folders(found.name, folder=folder)
    return content_hash(folder, cache) if in_folders is None else in_folders.content_hash(cache)


def _of_suite(dataset: SuiteDataset, root: Path | None) -> Whereabouts:
    sizes = {key: next(iter(dataset.sizes[split]), None) for split, key in _KEYS.items()}
    if dataset.layout == CLASS_FOLDERS:
        sizes = {**dict.fromkeys(_KEYS.values(), 0), "test": sizes["test"]}
    classes, problem = dataset.classes, ""
    folders = found_folders(dataset, root)
    state, lists = HERE if folders else MISSING, expected_lists(dataset)
    try:
        dataset_folder(dataset.name, root)
        classes = info(dataset.name, root).classes
        sizes = _counted(folders[0]) if lists else _counted_in_folders(dataset, root)
    except DataMissing as error:
        state, problem = MISSING, str(error)
    except WorkerError as error:
        state, problem = UNUSABLE, str(error)
    return Whereabouts(
        name=dataset.name,
        title=dataset.title,
        group=dataset.group,
        classes=classes,
        sizes=MappingProxyType(sizes),
        state=state,
        problem=problem,
        folders=folders,
        lists=tuple(lists_of(folders[0]).values()) if folders and lists else lists,
        expected=(root or Path(f"${DATA_VARIABLE}")) / expected_folder(dataset),
        source=dataset.source,
        licence=dataset.licence,
        task=dataset.task,
    )


def _of_local(name: str, root: Path | None) -> Whereabouts:
    """Raises UnknownDataset."""
    classes: int | None = None
    sizes: dict[str, int | None] = dict.fromkeys(_KEYS.values())
    folders: tuple[Path, ...] = ()
    state, problem = HERE, ""
    try:
        folders = (dataset_folder(name, root),)
        classes = info(name, root).classes
        sizes = _counted(folders[0])
    except DataMissing as error:
        state, problem = MISSING, str(error)
    except WorkerError as error:
        if not folders:
            raise
        state, problem = UNUSABLE, str(error)
    return Whereabouts(
        name=name,
        title="a folder of yours",
        group=group_of(name, root) or "",
        classes=classes,
        sizes=MappingProxyType(sizes),
        state=state,
        problem=problem,
        folders=folders,
        lists=tuple((lists_of(folders[0]) if folders else VTAB_LISTS).values()),
        task=task_of(folders[0]) if folders else CLASSIFICATION,
    )


def _counted(folder: Path) -> dict[str, int | None]:
    read, has = read_pairs if task_of(folder) == SEGMENTATION else read_list, splits_of(folder)
    return {key: len(read(folder, split)) if split in has else 0 for split, key in _KEYS.items()}


def _counted_in_folders(dataset: SuiteDataset, root: Path | None) -> dict[str, int | None]:
    """Of a test set alone. Raises DataUnreadable where its class folders are not those of the set."""
    in_folders = class_folders(dataset.name, root)
    test = 0 if in_folders is None else sum(1 for _ in in_folders.every())
    return {**dict.fromkeys(_KEYS.values(), 0), "test": test}
