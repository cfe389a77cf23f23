"""Which data sets there are, and what names them. Free of torch and numpy: the planner reads it.

A suite is data: a name and its data sets, each in a group. Suites known here: `embedded` (drawn by formula, ships
with the package) and `local` (every folder in VTAB layout under SWEEPBOARD_DATA; own splits never carry the name of
a published benchmark).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from methods.params import did_you_mean
from storage.records import canonical_json
from workers.data.folders import DATA_VARIABLE, content_hash, data_root, folders, read_list
from workers.embedded.catalogue import EMBEDDED_TASKS
from workers.errors import DataMissing, UnknownDataset

EMBEDDED_SUITE, LOCAL_SUITE = "embedded", "local"


@dataclass(frozen=True)
class DatasetInfo:
    """A data set's place and sizes; `train`, `val`, `test` are numbers of images of train800, val200 and test."""

    name: str
    suite: str
    group: str
    classes: int
    train: int
    val: int
    test: int


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
    """Suite name -> suite. `root` holds local data sets (default: SWEEPBOARD_DATA)."""
    local = tuple(f"{LOCAL_SUITE}/{name}" for name in folders(data_root(root)))
    return {
        EMBEDDED_SUITE: Suite(EMBEDDED_SUITE, tuple(_EMBEDDED_INFO)),
        LOCAL_SUITE: Suite(LOCAL_SUITE, local),
    }


def names(root: Path | None = None) -> tuple[str, ...]:
    """Names of all data sets, suite by suite."""
    return tuple(name for suite in suites(root).values() for name in suite.datasets)


def info(name: str, root: Path | None = None) -> DatasetInfo:
    """What is known of one data set. Raises UnknownDataset, and for local ones DataMissing or DataUnreadable."""
    if name in _EMBEDDED_INFO:
        return _EMBEDDED_INFO[name]
    folder = dataset_folder(name, root)
    lists = {split: read_list(folder, split) for split in ("train800", "val200", "test")}
    classes = 1 + max(label for listed in lists.values() for _, label in listed)
    sizes = [len(listed) for listed in lists.values()]
    return DatasetInfo(name, LOCAL_SUITE, LOCAL_SUITE, classes, *sizes)


def expand(pattern: str, root: Path | None = None) -> tuple[str, ...]:
    """Data-set names that a pattern of the spec stands for: `@suite/*`, `@suite/group` or a name itself.

    Raises UnknownDataset when it stands for none.
    """
    if not pattern.startswith("@"):
        info(pattern, root)
        return (pattern,)
    suite_name, _, group = pattern[1:].partition("/")
    suite = suites(root).get(suite_name)
    if suite is None:
        raise UnknownDataset(
            f"no suite is called {suite_name!r} (in {pattern!r}); known: {', '.join(suites(root))}."
            f"{did_you_mean(suite_name, suites(root))}"
        )
    if group == "*":
        found = suite.datasets
    else:
        found = tuple(name for name in suite.datasets if info(name, root).group == group)
    if not found:
        looked = f" under {data_root(root)} ({DATA_VARIABLE})" if suite_name == LOCAL_SUITE else ""
        raise UnknownDataset(f"{pattern!r} stands for no data set{looked}; write @{suite_name}/* for the whole suite")
    return found


def dataset_folder(name: str, root: Path | None = None) -> Path:
    """Where a local data set lies. Raises UnknownDataset for other names, DataMissing when the folder is absent."""
    suite, _, folder_name = name.partition("/")
    if suite != LOCAL_SUITE or not folder_name:
        raise UnknownDataset(
            f"no data set is called {name!r}; known: {', '.join(names(root))}.{did_you_mean(name, names(root))}"
        )
    place = data_root(root)
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
    return content_hash(dataset_folder(name, root), cache)
