"""Where a data set of a suite lies: `<data>/<suite>/<folder>` or `<data>/<folder>`, under its name or any alias."""

from __future__ import annotations

from pathlib import Path

from workers.data.class_names import class_names
from workers.data.folders import DATA_VARIABLE, PLAIN_LISTS, VTAB_LISTS
from workers.data.suite_files import CLASS_FOLDERS, SuiteDataset
from workers.errors import DataMissing

VTAB_SUITE = "vtab1k"


def expected_folder(dataset: SuiteDataset) -> Path:
    """Where to put it, relative to the folder of data sets."""
    return Path(dataset.suite) / dataset.folder


def expected_lists(dataset: SuiteDataset) -> tuple[str, ...]:
    """Names of its list files; none where folders named by class take their place."""
    if dataset.layout == CLASS_FOLDERS:
        return ()
    return tuple((VTAB_LISTS if dataset.suite == VTAB_SUITE else PLAIN_LISTS).values())


def found_folders(dataset: SuiteDataset, root: Path | None) -> tuple[Path, ...]:
    """Folders that hold it, in order of preference: they have its test list, or the first of its class folders; two
    names of one folder count once."""
    found: dict[Path, Path] = {}
    for place in _candidates(dataset, root):
        if _holds(place, dataset):
            found.setdefault(place.resolve(), place)
    return tuple(found.values())


def folder_of(dataset: SuiteDataset, root: Path | None) -> Path:
    """The folder to read. Raises DataMissing."""
    found = found_folders(dataset, root)
    if not found:
        raise missing(dataset, root)
    return found[0]


def missing(dataset: SuiteDataset, root: Path | None) -> DataMissing:
    """The error that says what to put where."""
    advice = f"(`sweepboard data where {dataset.name}` says how to get it)"
    if root is None:
        return DataMissing(
            f"data set {dataset.name!r} is missing: {DATA_VARIABLE} is not set; set it to the folder that holds "
            f"{expected_folder(dataset)} {advice}"
        )
    unlisted = next((place for place in _candidates(dataset, root) if place.is_dir()), None)
    wanted = PLAIN_LISTS["test"] if dataset.layout != CLASS_FOLDERS else _first_folder(dataset) or "class folders"
    hint = f"; {unlisted} is there, but holds no {wanted}" if unlisted is not None else ""
    return DataMissing(f"data set {dataset.name!r} is missing: no {expected_folder(dataset)} in {root}{hint} {advice}")


def _holds(place: Path, dataset: SuiteDataset) -> bool:
    if dataset.layout != CLASS_FOLDERS:
        return (place / PLAIN_LISTS["test"]).is_file()
    first = _first_folder(dataset)
    return (place / first).is_dir() if first else place.is_dir() and any(one.is_dir() for one in place.iterdir())


def _first_folder(dataset: SuiteDataset) -> str:
    """The first class folder, or the first part where classes have no names; "" where neither is known."""
    names = class_names(dataset.class_names)[:1] if dataset.class_names else ()
    return "/".join(filter(None, (dataset.parts[0], *names)))


def _candidates(dataset: SuiteDataset, root: Path | None) -> tuple[Path, ...]:
    if root is None:
        return ()
    spellings = dict.fromkeys((dataset.folder, dataset.own_name, *dataset.aliases))
    return tuple(place / spelling for place in (root / dataset.suite, root) for spelling in spellings)
