"""Which data sets there are, and what names them. Free of torch and numpy: the planner reads it.

A suite is data: a name and its data sets, each in a group. Suites known here: `embedded` (drawn by formula, ships
with the package), the benchmarks of `suites/*.yaml`, those of the user's `datasets.yaml`, and `local` (every folder
with lists under SWEEPBOARD_DATA; own splits never carry the name of a published benchmark: what is found under such a
name must have the published sizes).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from methods.params import did_you_mean
from storage.records import CLASSIFICATION, SEGMENTATION, canonical_json
from workers.data.class_folders import ClassFolders
from workers.data.few_shot import FewShot, few_shot
from workers.data.folders import DATA_VARIABLE, content_hash, data_root, lists_of, read_list, splits_of
from workers.data.locations import expected_folder, found_folders, missing
from workers.data.places import (
    EMBEDDED_SUITE,
    LOCAL_SUITE,
    Suite,
    class_folders,
    class_names_of,
    dataset_folder,
    described,
    group_of,
    names,
    names_in,
    suites,
)
from workers.data.suite_files import CLASS_FOLDERS, USERS_FILE, SuiteDataset, shipped_suites
from workers.embedded.catalogue import EMBEDDED_TASKS
from workers.errors import DataMissing, DataUnreadable, UnknownDataset
from workers.segmentation.lists import masks_hash, read_pairs, task_of

__all__ = [
    "EMBEDDED_SUITE",
    "LOCAL_SUITE",
    "DatasetInfo",
    "Suite",
    "class_folders",
    "class_names_of",
    "data_hash",
    "dataset_folder",
    "described",
    "expand",
    "group_of",
    "info",
    "names",
    "suites",
]

_SIZED = ("train800", "val200", "test")


@dataclass(frozen=True)
class DatasetInfo:
    """A data set's place and sizes; `train`, `val`, `test` are numbers of images of train800, val200 and test. Where
    only the sum of train and val is known, `train` has it and `val` is 0; both are 0 where there is a test split alone.
    Masks have `classes` 1."""

    name: str
    suite: str
    group: str
    classes: int
    train: int
    val: int
    test: int
    task: str = CLASSIFICATION

    @property
    def trained(self) -> int:
        """Images that a final job trains on."""
        return self.train if few_shot(self.name) else self.train + self.val


_EMBEDDED_INFO = {
    f"{EMBEDDED_SUITE}/{name}": DatasetInfo(
        f"{EMBEDDED_SUITE}/{name}", EMBEDDED_SUITE, EMBEDDED_SUITE, task.classes, task.train, task.val, task.test
    )
    for name, task in EMBEDDED_TASKS.items()
}


def info(name: str, root: Path | None = None) -> DatasetInfo:
    """What is known of one data set: of its lists where they are here, else of its suite's file.

    Raises UnknownDataset; DataMissing where neither says enough; DataUnreadable, also where the lists have other sizes
    than the suite's, or a class fewer images than a few-shot subset takes of it.
    """
    few = few_shot(name)
    if few is not None:
        return _few_info(few, root)
    if name in _EMBEDDED_INFO:
        return _EMBEDDED_INFO[name]
    dataset = described(name, root)
    if dataset is not None and not found_folders(dataset, data_root(root)):
        return _promised(dataset, root)
    if dataset is not None and dataset.layout == CLASS_FOLDERS:
        return _info_of_folders(dataset, root)
    folder = dataset_folder(name, root)
    return _masked(name, dataset, folder) if _task(dataset, folder) == SEGMENTATION else _listed(name, dataset, folder)


def _listed(name: str, dataset: SuiteDataset | None, folder: Path) -> DatasetInfo:
    """Of a folder whose lists give each image a label."""
    has = splits_of(folder)
    lists = {split: read_list(folder, split) if split in has else () for split in _SIZED}
    classes = 1 + max(label for listed in lists.values() for _, label in listed)
    sizes = {split: len(listed) for split, listed in lists.items()}
    train, val, test = sizes.values()
    if dataset is None:
        named = names_in(folder) if has == ("test",) else None
        return DatasetInfo(name, LOCAL_SUITE, LOCAL_SUITE, max(classes, len(named or ())), train, val, test)
    both = len(read_list(folder, "train800val200")) if "train800val200" in has else 0
    _check(dataset, folder, classes, {**sizes, "train800val200": both})
    return DatasetInfo(dataset.name, dataset.suite, dataset.group, dataset.classes or classes, train, val, test)


def expand(pattern: str, root: Path | None = None) -> tuple[str, ...]:
    """Data-set names that a pattern of the spec stands for: `@suite/*`, `@suite/group`, or a name or an alias itself.

    Data sets of a suite are named whether their images are here or not; `@5shot` behind a pattern makes few-shot
    subsets of all of them. Raises UnknownDataset when it stands for none.
    """
    few = few_shot(pattern)
    if few is not None:
        return tuple(f"{name}{few.suffix}" for name in expand(few.base, root))
    if not pattern.startswith("@"):
        dataset = described(pattern, root)
        return (dataset.name if dataset is not None else info(pattern, root).name,)
    suite_name, _, group = pattern[1:].partition("/")
    suite = suites(root).get(suite_name)
    if suite is None:
        raise UnknownDataset(
            f"no suite is called {suite_name!r} (in {pattern!r}); known: {', '.join(suites(root))}."
            f"{did_you_mean(suite_name, suites(root))}"
        )
    found = tuple(name for name in suite.datasets if group in ("*", group_of(name, root)))
    if not found:
        looked = f" under {data_root(root)} ({DATA_VARIABLE})" if suite_name == LOCAL_SUITE else ""
        groups = dict.fromkeys(filter(None, (group_of(name, root) for name in suite.datasets)))
        hint = did_you_mean(group, groups)
        raise UnknownDataset(
            f"{pattern!r} stands for no data set{looked}; write @{suite_name}/* for the whole suite.{hint}"
        )
    return found


def data_hash(name: str, root: Path | None = None, cache: Path | None = None) -> str:
    """64 hex that name the content: the formula's parameters and revision, or the lists and images of a folder.

    Raises UnknownDataset, DataMissing, DataUnreadable.
    """
    few = few_shot(name)
    if few is not None:
        info(name, root)
        return few.data_hash(data_hash(few.base, root, cache))
    if name in _EMBEDDED_INFO:
        task = EMBEDDED_TASKS[name.removeprefix(f"{EMBEDDED_SUITE}/")]
        return hashlib.sha256(canonical_json({"formula": asdict(task)}).encode()).hexdigest()
    in_folders = class_folders(name, root)
    if in_folders is not None:
        _check_folders(in_folders, described(name, root))
        return in_folders.content_hash(cache)
    folder = dataset_folder(name, root)
    if described(name, root) is not None:
        info(name, root)  # other sizes than the suite's never get an identity
    has_masks = _task(described(name, root), folder) == SEGMENTATION
    return masks_hash(folder, cache) if has_masks else content_hash(folder, cache)


def _few_info(few: FewShot, root: Path | None) -> DatasetInfo:
    base = info(few.base, root)
    if base.name in _EMBEDDED_INFO:  # drawn with as many images of each class
        per_class = base.train // base.classes
        listed = tuple((f"{position}", position // per_class) for position in range(per_class * base.classes))
        few.chosen(listed, base.classes)
    else:
        try:
            few.chosen(read_list(dataset_folder(few.base, root), "train800"), base.classes)
        except DataMissing:  # not here: only the sum can be looked at
            if few.shots * base.classes > base.train:
                raise DataUnreadable(
                    f"{few.name}: {base.classes} classes have {base.train:,} training images in all, fewer than "
                    f"{few.shots} each; ask for fewer shots"
                ) from None
    return replace(base, name=f"{base.name}{few.suffix}", train=few.shots * base.classes)


def _info_of_folders(dataset: SuiteDataset, root: Path | None) -> DatasetInfo:
    """Of a test set in class folders; its files are counted where its suite's file leaves the number open."""
    in_folders = class_folders(dataset.name, root)
    if in_folders is None:
        raise missing(dataset, data_root(root))
    promised = dataset.sizes["test"]
    test = promised[0] if promised else sum(1 for _ in in_folders.every())
    return DatasetInfo(dataset.name, dataset.suite, dataset.group, len(in_folders.classes()), 0, 0, test)


def _check_folders(in_folders: ClassFolders, dataset: SuiteDataset | None) -> None:
    """Raises DataUnreadable where there are other classes or numbers of images than the suite's file says."""
    found, allowed = sum(1 for _ in in_folders.every()), dataset.sizes["test"] if dataset else ()
    if dataset is not None and allowed and found not in allowed:
        wanted = " or ".join(f"{number:,}" for number in allowed)
        raise DataUnreadable(
            f"{in_folders.folder} is not {dataset.name}: it has {found:,} images, expected {wanted}. Unpack the "
            f"archive again at {expected_folder(dataset)}"
        )


def _task(dataset: SuiteDataset | None, folder: Path) -> str:
    """The suite's word where there is one, else what the folder's lists show."""
    return task_of(folder) if dataset is None else dataset.task


def _masked(name: str, dataset: SuiteDataset | None, folder: Path) -> DatasetInfo:
    """The info of a data set with masks. Raises as `info`."""
    sizes = {split: len(read_pairs(folder, split)) for split in (*_SIZED, "train800val200")}
    if dataset is not None:
        _check(dataset, folder, 1, sizes)
        name = dataset.name
    suite, group = (LOCAL_SUITE, LOCAL_SUITE) if dataset is None else (dataset.suite, dataset.group)
    train, val, test = (sizes[split] for split in _SIZED)
    return DatasetInfo(name, suite, group, 1, train, val, test, SEGMENTATION)


def _promised(dataset: SuiteDataset, root: Path | None) -> DatasetInfo:
    """The info of a data set that is not here, from its suite's file. Raises DataMissing where that leaves it open."""
    train, val, both, test = (dataset.sizes[split] for split in ("train800", "val200", "train800val200", "test"))
    if dataset.layout == CLASS_FOLDERS and dataset.classes and test:
        return DatasetInfo(dataset.name, dataset.suite, dataset.group, dataset.classes, 0, 0, test[0])
    classes = 1 if dataset.task == SEGMENTATION else dataset.classes
    if not (classes and both and test):
        raise missing(dataset, data_root(root))
    first, rest = (train[0], val[0]) if train and val else (both[0], 0)
    return DatasetInfo(dataset.name, dataset.suite, dataset.group, classes, first, rest, test[0], dataset.task)


def _check(dataset: SuiteDataset, folder: Path, classes: int, sizes: dict[str, int]) -> None:
    """Raises DataUnreadable where a folder is not what its suite's file says."""
    lists = lists_of(folder)
    wrong = [
        f"{lists[split]} has {sizes[split]:,} images, expected {' or '.join(f'{number:,}' for number in allowed)}"
        for split, allowed in dataset.sizes.items()
        if allowed and sizes[split] not in allowed
    ]
    if dataset.classes is not None and classes > dataset.classes:
        wrong.append(f"label {classes - 1} occurs, expected {dataset.classes} classes from 0")
    if wrong:
        is_published = any(suite.name == dataset.suite for suite in shipped_suites())
        published = f"Put the published set at {expected_folder(dataset)}; splits of your own are {LOCAL_SUITE}/…"
        raise DataUnreadable(
            f"{folder} is not {dataset.name}: {'; '.join(wrong)}. "
            f"{published if is_published else f'Correct the lists or {USERS_FILE}'}"
        )
