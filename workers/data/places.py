"""Which data sets there are, and where their images lie. Free of torch and numpy: the planner reads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from methods.params import did_you_mean
from workers.data.class_folders import ClassFolders
from workers.data.class_names import ClassNames, class_names
from workers.data.few_shot import few_shot
from workers.data.folders import DATA_VARIABLE, data_root, folders
from workers.data.locations import folder_of
from workers.data.suite_files import (
    CLASS_FOLDERS,
    USERS_FILE,
    SuiteDataset,
    SuiteFile,
    shipped_suites,
    users_suites,
)
from workers.embedded.catalogue import EMBEDDED_TASKS
from workers.errors import DataMissing, DataUnreadable, UnknownDataset

EMBEDDED_SUITE, LOCAL_SUITE = "embedded", "local"
CLASS_NAMES = "classes.txt"
_EMBEDDED = tuple(f"{EMBEDDED_SUITE}/{name}" for name in EMBEDDED_TASKS)


@dataclass(frozen=True)
class Suite:
    """Data sets that are averaged together on a leaderboard."""

    name: str
    datasets: tuple[str, ...]


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
        EMBEDDED_SUITE: Suite(EMBEDDED_SUITE, tuple(_EMBEDDED)),
        **described,
        LOCAL_SUITE: Suite(LOCAL_SUITE, local),
    }


def names(root: Path | None = None) -> tuple[str, ...]:
    """Names of all data sets, suite by suite."""
    return tuple(name for suite in suites(root).values() for name in suite.datasets)


def described(name: str, root: Path | None = None) -> SuiteDataset | None:
    """What a suite's file says of the data set of that name or alias, of a few-shot subset its base; None for embedded,
    local and unknown ones."""
    suite_name, _, own_name = base_of(name).partition("/")
    suite = next((one for one in shipped_suites() if one.name == suite_name), None)
    if suite is None and suite_name not in (EMBEDDED_SUITE, LOCAL_SUITE):
        suite = _described_suites(root).get(suite_name)
    return None if suite is None else suite.dataset(own_name)


def group_of(name: str, root: Path | None = None) -> str | None:
    """The group of a data set in its suite, whether its images are here or not; None where it is in no suite."""
    suite = name.partition("/")[0]
    if base_of(name) in _EMBEDDED or suite == LOCAL_SUITE:
        return suite
    dataset = described(name, root)
    return None if dataset is None else dataset.group


def dataset_folder(name: str, root: Path | None = None) -> Path:
    """Where a data set of images lies. Raises UnknownDataset for other names, DataMissing when the folder is absent."""
    name = base_of(name)
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


def class_folders(name: str, root: Path | None = None, folder: Path | None = None) -> ClassFolders | None:
    """The images of a test set that lies in folders named by class; None for data sets with lists.

    `folder`: where they lie, where that is known. Raises DataMissing.
    """
    dataset = described(name, root)
    if dataset is None or dataset.layout != CLASS_FOLDERS:
        return None
    named = class_names(dataset.class_names) if dataset.class_names else None
    return ClassFolders(folder or folder_of(dataset, data_root(root)), dataset.parts, named)


def class_names_of(name: str, root: Path | None = None) -> ClassNames:
    """What the classes are called, by label: of the shipped list, of `classes.txt` in the folder, or the class folders
    themselves; None where nobody says. Raises UnknownDataset, DataMissing, DataUnreadable."""
    dataset = described(name, root)
    if dataset is not None and dataset.class_names:
        return class_names(dataset.class_names)
    if base_of(name) in _EMBEDDED:
        return None
    in_folders = class_folders(name, root)
    return names_in(dataset_folder(name, root)) if in_folders is None else in_folders.classes()


def names_in(folder: Path) -> ClassNames:
    """Lines of `classes.txt`; None where there is none."""
    path = folder / CLASS_NAMES
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise DataUnreadable(f"{path} cannot be read ({error}); correct the file or its rights") from None
    if len(set(names)) != len(names):
        raise DataUnreadable(f"{path} has a name twice; a line is a class, in the order of the labels")
    return names or None


def base_of(name: str) -> str:
    few = few_shot(name)
    return name if few is None else few.base


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


def _unknown(name: str, root: Path | None) -> str:
    """The message for a name that nothing has: of a suite that exists its data sets, else the suites."""
    suite = suites(root).get(name.partition("/")[0])
    known = ", ".join(suite.datasets if suite is not None else suites(root)) or "none"
    kind = "known" if suite is not None else "known suites"
    return f"no data set is called {name!r}; {kind}: {known}.{did_you_mean(name, names(root))}"
