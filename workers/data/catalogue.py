"""Which data sets there are, and what names them. Free of torch and numpy: the planner reads it.

A suite is data: a name and its data sets, each in a group. Suites known here: `embedded` (drawn by formula, ships
with the package), the benchmarks of `suites/*.yaml`, those of the user's `datasets.yaml`, and `local` (every folder
with lists under SWEEPBOARD_DATA; own splits never carry the name of a published benchmark: what is found under such a
name must have the published sizes).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from methods.params import did_you_mean
from storage.records import CLASSIFICATION, SEGMENTATION, canonical_json
from workers.data.folders import DATA_VARIABLE, content_hash, data_root, folders, lists_of, read_list
from workers.data.locations import expected_folder, folder_of, found_folders, missing
from workers.data.suite_files import USERS_FILE, SuiteDataset, SuiteFile, shipped_suites, users_suites
from workers.embedded.catalogue import EMBEDDED_TASKS
from workers.errors import DataMissing, DataUnreadable, UnknownDataset
from workers.segmentation.lists import masks_hash, read_pairs, task_of

EMBEDDED_SUITE, LOCAL_SUITE = "embedded", "local"
_SIZED = ("train800", "val200", "test")


@dataclass(frozen=True)
class DatasetInfo:
    """A data set's place and sizes; `train`, `val`, `test` are numbers of images of train800, val200 and test. Where
    only the sum of train and val is known, `train` has it and `val` is 0. Masks have `classes` 1."""

    name: str
    suite: str
    group: str
    classes: int
    train: int
    val: int
    test: int
    task: str = CLASSIFICATION


@dataclass(frozen=True)
class Suite:
    """Data sets that are averaged together on a leaderboard."""

    name: str
    datasets: tuple[str, ...]


_EMBEDDED_INFO = {
    f"{EMBEDDED_SUITE}/{name}": DatasetInfo(
        f"{EMBEDDED_SUITE}/{name}", EMBEDDED_SUITE, EMBEDDED_SUITE, task.classes, task.train, task.val, task.test
    )
    for name, task in EMBEDDED_TASKS.items()
}


def suites(root: Path | None = None) -> dict[str, Suite]:
    """Suite name -> suite. `root` holds local data sets (default: SWEEPBOARD_DATA).

    Raises DataUnreadable when the user's `datasets.yaml` is wrong, as does everything below that meets a name which is
    neither embedded nor local nor shipped.
    """
    local = tuple(f"{LOCAL_SUITE}/{name}" for name in folders(data_root(root)))
    described = {
        name: Suite(name, tuple(dataset.name for dataset in suite.datasets))
        for name, suite in _described_suites(root).items()
    }
    return {
        EMBEDDED_SUITE: Suite(EMBEDDED_SUITE, tuple(_EMBEDDED_INFO)),
        **described,
        LOCAL_SUITE: Suite(LOCAL_SUITE, local),
    }


def names(root: Path | None = None) -> tuple[str, ...]:
    """Names of all data sets, suite by suite."""
    return tuple(name for suite in suites(root).values() for name in suite.datasets)


def described(name: str, root: Path | None = None) -> SuiteDataset | None:
    """What a suite's file says of the data set of that name or alias; None for embedded, local and unknown ones."""
    suite_name, _, own_name = name.partition("/")
    suite = next((one for one in shipped_suites() if one.name == suite_name), None)
    if suite is None and suite_name not in (EMBEDDED_SUITE, LOCAL_SUITE):
        suite = _described_suites(root).get(suite_name)
    return None if suite is None else suite.dataset(own_name)


def group_of(name: str, root: Path | None = None) -> str | None:
    """The group of a data set in its suite, whether its images are here or not; None where it is in no suite."""
    suite = name.partition("/")[0]
    if name in _EMBEDDED_INFO or suite == LOCAL_SUITE:
        return suite
    dataset = described(name, root)
    return None if dataset is None else dataset.group


def info(name: str, root: Path | None = None) -> DatasetInfo:
    """What is known of one data set: of its lists where they are here, else of its suite's file.

    Raises UnknownDataset; DataMissing where neither says enough; DataUnreadable, also where the lists have other sizes
    than the suite's.
    """
    if name in _EMBEDDED_INFO:
        return _EMBEDDED_INFO[name]
    dataset = described(name, root)
    if dataset is not None and not found_folders(dataset, data_root(root)):
        return _promised(dataset, root)
    folder = dataset_folder(name, root)
    if _task(dataset, folder) == SEGMENTATION:
        return _masked(name, dataset, folder)
    lists = {split: read_list(folder, split) for split in _SIZED}
    classes = 1 + max(label for listed in lists.values() for _, label in listed)
    sizes = {split: len(listed) for split, listed in lists.items()}
    train, val, test = sizes.values()
    if dataset is None:
        return DatasetInfo(name, LOCAL_SUITE, LOCAL_SUITE, classes, train, val, test)
    _check(dataset, folder, classes, {**sizes, "train800val200": len(read_list(folder, "train800val200"))})
    return DatasetInfo(dataset.name, dataset.suite, dataset.group, dataset.classes or classes, train, val, test)


def expand(pattern: str, root: Path | None = None) -> tuple[str, ...]:
    """Data-set names that a pattern of the spec stands for: `@suite/*`, `@suite/group`, or a name or an alias itself.

    Data sets of a suite are named whether their images are here or not. Raises UnknownDataset when it stands for none.
    """
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


def dataset_folder(name: str, root: Path | None = None) -> Path:
    """Where a data set of images lies. Raises UnknownDataset for other names, DataMissing when the folder is absent."""
    suite, _, folder_name = name.partition("/")
    place = data_root(root)
    dataset = described(name, root)
    if dataset is not None:
        return folder_of(dataset, place)
    if suite != LOCAL_SUITE or not folder_name:
        raise UnknownDataset(_unknown(name, root))
    if place is None:
        raise DataMissing(
            f"data set {name!r} lies under the folder that {DATA_VARIABLE} names, which is not set; "
            f"set it to the folder that holds {folder_name!r}"
        )
    if not (place / folder_name).is_dir():
        raise DataMissing(
            f"data set {name!r} is missing: no folder {folder_name!r} in {place}; known there: "
            f"{', '.join(folders(place)) or 'none'}. Put the folder there or correct {DATA_VARIABLE}"
        )
    return place / folder_name


def data_hash(name: str, root: Path | None = None, cache: Path | None = None) -> str:
    """64 hex that name the content: the formula's parameters and revision, or the lists and images of a folder.

    Raises UnknownDataset, DataMissing, DataUnreadable.
    """
    if name in _EMBEDDED_INFO:
        task = EMBEDDED_TASKS[name.removeprefix(f"{EMBEDDED_SUITE}/")]
        return hashlib.sha256(canonical_json({"formula": asdict(task)}).encode()).hexdigest()
    folder = dataset_folder(name, root)
    if described(name, root) is not None:
        info(name, root)  # other sizes than the suite's never get an identity
    has_masks = _task(described(name, root), folder) == SEGMENTATION
    return masks_hash(folder, cache) if has_masks else content_hash(folder, cache)


def _described_suites(root: Path | None) -> dict[str, SuiteFile]:
    """Shipped and user's suites by name. Raises DataUnreadable where a user's suite takes a name that is taken."""
    found = {suite.name: suite for suite in shipped_suites()}
    for suite in users_suites(data_root(root)):
        if suite.name in (EMBEDDED_SUITE, LOCAL_SUITE) or suite.name in found:
            raise DataUnreadable(
                f"{data_root(root)}/{USERS_FILE}: the suite name {suite.name!r} is taken, and own data never carry the "
                "name of a benchmark; give the suite another name"
            )
        found[suite.name] = suite
    return found


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


def _unknown(name: str, root: Path | None) -> str:
    """The message for a name that nothing has: of a suite that exists its data sets, else the suites."""
    suite = suites(root).get(name.partition("/")[0])
    known = ", ".join(suite.datasets if suite is not None else suites(root)) or "none"
    kind = "known" if suite is not None else "known suites"
    return f"no data set is called {name!r}; {kind}: {known}.{did_you_mean(name, names(root))}"
