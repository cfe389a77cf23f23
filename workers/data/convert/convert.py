"""Existing dumps of images in the layout that the rest of the package reads; lossless, resumable, never half there."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workers.data.catalogue import LOCAL_SUITE
from workers.data.check_findings import some
from workers.data.check_lists import CLASS_NAMES
from workers.data.convert import vtab_folders
from workers.data.convert.kinds import KINDS, detected, kind
from workers.data.convert.places import folder_for, meant, misfits
from workers.data.convert.source import Content, Example, Listing, SourceRequest, told
from workers.data.convert.splitting import SEED, Drawn, drawn
from workers.data.convert.writing import Told, Writing, write
from workers.data.folders import PLAIN_LISTS, VTAB_LISTS
from workers.data.locations import VTAB_SUITE
from workers.errors import ConversionFailed, WorkerError

_VTAB_SIZES = (800, 200)
_LABELLED = ("parquet", "tfds")
"""Kinds whose label is a column that may be chosen."""

_WALKED = ("folders", "parquet")
"""Kinds that take whatever lies under the source."""


@dataclass(frozen=True, kw_only=True)
class ConversionRequest:
    """`kind`: a key of KINDS, or `torchvision:CLASS`; None: found out. `name`: `NAME`, `local/NAME` or `suite/NAME`;
    None only for VTAB folders that carry their task's name. `root`: the folder of data sets. `label`: which column."""

    source: Path
    root: Path
    kind: str | None = None
    name: str | None = None
    label: str | None = None
    link: bool = False
    seed: int = SEED


@dataclass(frozen=True)
class Converted:
    """`sizes`: split -> images; `written`: files that were not there before, 0 where nothing was left to do."""

    name: str
    folder: Path
    kind: str
    sizes: Mapping[str, int]
    classes: int
    written: int
    notes: tuple[str, ...]
    has_masks: bool


def convert(request: ConversionRequest, progress: Told) -> tuple[Converted, ...]:
    """One set, or one per task of a folder of VTAB tasks. All are read and checked before anything is written.

    Raises ConversionFailed.
    """
    if not request.source.exists():
        raise ConversionFailed(f"{request.source} is not there; correct the path")
    name, _, part = (request.kind or detected(request.source)).partition(":")
    if name not in KINDS:
        raise ConversionFailed(f"--from {name}: no such kind; known: {', '.join(KINDS)}")
    if part and name != "torchvision":
        raise ConversionFailed(
            f"--from {name}:{part}: only torchvision has classes to choose from; write --from {name}"
        )
    if request.label is not None and name not in _LABELLED:
        raise ConversionFailed(f"--label is for {' and '.join(_LABELLED)}; a source of kind {name} has one label")
    planned: list[_Plan] = []
    failures: list[str] = []
    for path, wanted in _sets(request, name):
        try:
            source = SourceRequest(path=path, part=part or None, label=request.label)
            planned.append(_planned(request, source, name, wanted))
        except WorkerError as error:
            failures.append(str(error))
    if failures:
        raise ConversionFailed("\n".join(failures))
    return tuple(_done(plan, progress) for plan in planned)


@dataclass(frozen=True)
class _Plan:
    name: str
    kind: str
    splits: Drawn
    writing: Writing
    notes: tuple[str, ...]
    classes: int


def _sets(request: ConversionRequest, name: str) -> Sequence[tuple[Path, str]]:
    """(path, name that it takes) of every set that the source holds. Raises ConversionFailed."""
    if name == "vtab" and (request.name is None or request.name == VTAB_SUITE):
        return vtab_folders.tasks(request.source)
    if request.name is None:
        raise ConversionFailed("--as NAME is missing: what the set is to be called (local/NAME)")
    if name == "vtab" and not vtab_folders.is_task(request.source):
        raise ConversionFailed(f"{request.source} holds several tasks: leave out --as, they keep their names")
    return [(request.source, request.name)]


def _planned(request: ConversionRequest, source: SourceRequest, name: str, wanted: str) -> _Plan:
    """Raises ConversionFailed."""
    dataset = meant(wanted, request.root)
    folder = request.root / folder_for(wanted, dataset)
    if name in _WALKED and folder.resolve().is_relative_to(source.path.resolve()):
        raise ConversionFailed(
            f"{folder} lies in the source {source.path} and would become part of it; choose another --to"
        )
    listing = kind(name).read(replace(source, task=dataset))
    if broken := _unlistable(listing):
        raise ConversionFailed(told(f"{source.path} cannot become {wanted}", broken))
    splits = drawn(listing, request.seed)
    classes = max(len(listing.classes), 1 + max(example.label for example in listing.examples))
    if dataset is not None and (wrong := misfits(dataset, listing.suite, _sizes(splits), classes)):
        raise ConversionFailed(told(f"{source.path} cannot become {wanted}", wrong))
    texts = _texts(listing, splits, dataset is not None and dataset.suite == VTAB_SUITE)
    kind_shown = name if source.part is None else f"{name}:{source.part}"
    card: dict[str, object] = {
        "kind": kind_shown,
        "source": str(source.path.resolve()),
        "seed": request.seed if splits.rules else None,
        "splits": splits.sizes,
        "classes": None if _has_masks(listing) else classes,
        "images": len(listing.examples),
        "notes": [*listing.notes, *splits.rules],
        "sha256": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()},
    }
    if _has_masks(listing):
        card["lists"] = {"val": [one.name for one in splits.val], "test": [one.name for one in splits.test]}
    writing = Writing(folder=folder, files=_files(listing), texts=texts, card=card, link=request.link)
    shown = dataset.name if dataset is not None else f"{LOCAL_SUITE}/{folder.name}"
    return _Plan(shown, kind_shown, splits, writing, (*listing.notes, *splits.rules), classes)


def _files(listing: Listing) -> dict[str, Content]:
    """Path in the converted folder -> what is written there."""
    files = {example.name: example.content for example in listing.examples}
    return files | {example.mask[0]: example.mask[1] for example in listing.examples if example.mask}


def _sizes(splits: Drawn) -> dict[str, int]:
    """Split, as the suites' files count them -> images."""
    train, val, test = splits.sizes.values()
    return {"train800": train, "val200": val, "train800val200": train + val, "test": test}


def _done(plan: _Plan, progress: Told) -> Converted:
    written = write(plan.writing, progress)
    has_masks = plan.splits.train[0].mask is not None
    return Converted(
        plan.name, plan.writing.folder, plan.kind, plan.splits.sizes, plan.classes, written, plan.notes, has_masks
    )


def _has_masks(listing: Listing) -> bool:
    return listing.examples[0].mask is not None


def _unlistable(listing: Listing) -> list[str]:
    """What no list can say: a file twice, or a name that a line cannot hold."""
    counts = Counter(example.name for example in listing.examples)
    twice = [name for name, count in counts.items() if count > 1]
    broken = [name for name in counts if name.splitlines() != [name] or name != name.strip()]
    broken += [name for name in listing.classes if name.splitlines() != [name]]
    spaced = [name for name in counts if " " in name] if _has_masks(listing) else []
    found = [f"{len(twice):,} images occur more than once: {some(twice)}"] if twice else []
    found += (
        [f"{len(broken):,} names cannot stand in a line: {some([repr(name) for name in broken])}"] if broken else []
    )
    return found + ([f"{len(spaced):,} names hold a space: {some(spaced)}"] if spaced else [])


def _texts(listing: Listing, splits: Drawn, is_vtab: bool) -> dict[str, str]:
    """Name of a text file -> what is to stand in it."""
    is_vtab = is_vtab or ((len(splits.train), len(splits.val)) == _VTAB_SIZES and not _has_masks(listing))
    names = VTAB_LISTS if is_vtab else PLAIN_LISTS
    lines = {example.name: _line(example) for example in listing.examples}
    parts = {"train800": splits.train, "val200": splits.val, "test": splits.test}
    texts = {names[split]: "".join(lines[one.name] for one in examples) for split, examples in parts.items()}
    if not _has_masks(listing):
        both = listing.trainval or tuple(one.name for one in (*splits.train, *splits.val))
        texts[names["train800val200"]] = "".join(lines[name] for name in both)
    if listing.classes:
        texts[CLASS_NAMES] = "".join(f"{name}\n" for name in listing.classes)
    return texts


def _line(example: Example) -> str:
    return f"{example.name} {example.mask[0] if example.mask else example.label}\n"
