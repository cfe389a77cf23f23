"""Which folder a converted set may lie in: splits of one's own never carry the name of a published benchmark."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from methods.params import did_you_mean
from workers.data.catalogue import EMBEDDED_SUITE, LOCAL_SUITE, described, suites
from workers.data.locations import VTAB_SUITE, expected_folder
from workers.data.suite_files import SuiteDataset, shipped_suites
from workers.errors import ConversionFailed

FGVC_SUITE = "fgvc"
PUBLISHED = (VTAB_SUITE, FGVC_SUITE)
"""Suites whose splits are part of the benchmark; only a source that has those splits may take such a name."""


def meant(name: str, root: Path) -> SuiteDataset | None:
    """The set of a suite that the name means; None for `local/NAME` and plain names. Raises ConversionFailed."""
    suite, slash, own = name.partition("/")
    if not slash or suite == LOCAL_SUITE:
        _refuse_taken(own if slash else name, name)
        return None
    dataset = None if suite == EMBEDDED_SUITE else described(name, root)
    if dataset is None:
        known = [known for one in suites(root).values() for known in one.datasets]
        raise ConversionFailed(
            f"--as {name}: no suite has such a set; a name without a slash is a set of your own, local/NAME."
            f"{did_you_mean(name, known)}"
        )
    return dataset


def folder_for(name: str, dataset: SuiteDataset | None) -> Path:
    """Where it lies under the folder of data sets."""
    return Path(name.removeprefix(f"{LOCAL_SUITE}/")) if dataset is None else expected_folder(dataset)


def misfits(dataset: SuiteDataset, suite: str | None, sizes: Mapping[str, int], classes: int) -> list[str]:
    """Why a source may not carry the name of this set, [] where it may. `suite`: whose splits the source has."""
    if dataset.suite in PUBLISHED and suite != dataset.suite:
        return [
            f"the splits of {dataset.name} are part of the benchmark, and this source has others: a set of your own is "
            "local/NAME (give a name without a slash)"
        ]
    wrong = [
        f"{split} has {sizes[split]:,} images, {dataset.name} has {' or '.join(f'{number:,}' for number in allowed)}"
        for split, allowed in dataset.sizes.items()
        if allowed and sizes[split] not in allowed
    ]
    if dataset.classes is not None and classes > dataset.classes:
        wrong.append(f"label {classes - 1} is out of range: {dataset.name} has {dataset.classes} classes from 0")
    return wrong


def _refuse_taken(own: str, name: str) -> None:
    if not own or own.startswith(".") or "/" in own or "\\" in own or own != own.strip() or not own.isprintable():
        raise ConversionFailed(f"--as {name}: {own!r} is no name for a folder; use letters, digits, - and _")
    for suite in shipped_suites():
        if own in (suite.name, EMBEDDED_SUITE, LOCAL_SUITE) or suite.dataset(own) is not None:
            raise ConversionFailed(
                f"--as {name}: {own!r} would be read as {suite.name}/… of the benchmark, and splits of your own never "
                f"carry its name; write --as {suite.name}/{own} if it is that set, else choose another, e.g. my_{own}"
            )
