"""Images that are in the data set twice: equal files, and pictures of one scene that were moved, turned or mirrored.

Near copies are looked for between splits alone: within a split they cost variety, between splits they leak answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workers.data.check_findings import Finding, Level, some
from workers.data.check_register import Pixels, colours, likeness, spectrum, thumbnail, turned_spectra
from workers.data.decoding import as_rgb, opened

_LEAKS = (("train800", "val200"), ("train800val200", "test"))
_SEEN_BY = {"val200": "selection on val200", "test": "the test score"}
_COPIES_SHARE = 0.01  # of a split from which equal files make its score worthless as evidence
_NEAR_SHARE = 1 / 3  # the same for near copies; the measure takes some equal objects for equal pictures
_ALIKE = 0.7  # correlation of two pictures that show one scene; measured in the README
_QUERIES = 200  # images of a split that are compared
_AMONG = 5000  # images of the training split that they are compared with
_CANDIDATES = 6  # of these, by colour, that are laid over each other


@dataclass(frozen=True)
class Splits:
    """Readable images of each split in the order of its list, and the content hash of each file."""

    folder: Path
    listed: Mapping[str, Sequence[str]]
    content: Mapping[str, str]


def check_copies(splits: Splits) -> Iterator[Finding]:
    """Findings on equal files and near copies."""
    yield from _within(splits)
    for first, second in _LEAKS:
        if not splits.listed[first] or not splits.listed[second]:
            continue  # a test list alone
        exact = _equal(splits, first, second)
        if exact:
            share = len(exact) / len(splits.listed[second])
            what = f"{len(exact):,} images of {second} ({100 * share:.1f} %) are in {first} too: {some(exact)}"
            level = Level.PROBLEM if share > _COPIES_SHARE else Level.NOTE
            yield Finding(level, what, "", f"take them out of {first}: {_SEEN_BY[second]} rewards memory")
        yield _near(splits, first, second)


def _within(splits: Splits) -> Iterator[Finding]:
    for split in ("train800val200", "test"):
        seen: dict[str, str] = {}
        twice = []
        for relative in splits.listed[split]:
            other = seen.setdefault(splits.content[relative], relative)
            if other != relative:
                twice.append(f"{relative} = {other}")
        if twice:
            what = f"{len(twice):,} images of {split} equal another of it: {some(twice)}"
            yield Finding(Level.NOTE, what, "", "they count twice; keep one of each")


def _equal(splits: Splits, first: str, second: str) -> list[str]:
    known = {splits.content[relative]: relative for relative in splits.listed[first]}
    return [
        f"{relative} = {known[splits.content[relative]]}"
        for relative in splits.listed[second]
        if splits.content[relative] in known
    ]


def _near(splits: Splits, first: str, second: str) -> Finding:
    """How many images of `second` show a scene of `first`."""
    queries = _spread(splits.listed[second], _QUERIES)
    among = _spread(splits.listed[first], _AMONG)
    alike = near_copies(splits.folder, queries, among)
    share = len(alike) / max(1, len(queries))
    looked = f"{len(queries):,} images of {second} against {len(among):,} of {first}"
    if not alike:
        return Finding(Level.OK, f"no near copies among {looked}")
    pairs = [f"{query} ~ {other} ({score:.2f})" for query, other, score in alike]
    what = f"{len(alike):,} near copies ({100 * share:.1f} %) among {looked}: {some(pairs)}"
    if share > _NEAR_SHARE:
        advice = f"split by source picture before augmenting: {_SEEN_BY[second]} rewards memory"
        return Finding(Level.PROBLEM, what, "", advice)
    return Finding(Level.NOTE, what, "", "look at them: frames of one film, or objects that look the same")


def near_copies(folder: Path, queries: Sequence[str], among: Sequence[str]) -> list[tuple[str, str, float]]:
    """(query, the image most like it, correlation) where that is 0.7 or more, the most alike first."""
    if not among:
        return []
    coloured, spectra = [], []
    for relative in among:
        with opened(folder / relative) as image:
            rgb = as_rgb(image)
        coloured.append(colours(rgb))
        spectra.append(spectrum(thumbnail(rgb)))
    palette: Pixels = np.stack(coloured)
    found = []
    for relative in queries:
        with opened(folder / relative) as image:
            rgb = as_rgb(image)
        nearest = np.argsort(-(palette @ colours(rgb)), kind="stable")[:_CANDIDATES]
        scores = likeness(turned_spectra(thumbnail(rgb)), [spectra[index] for index in nearest])
        best = int(scores.argmax())
        if scores[best] >= _ALIKE:
            found.append((relative, among[nearest[best]], float(scores[best])))
    return sorted(found, key=lambda pair: -pair[2])


def _spread(names: Sequence[str], count: int) -> list[str]:
    """At most `count` of them, evenly over the list: lists are often sorted by class."""
    if len(names) <= count:
        return list(names)
    return [names[index * len(names) // count] for index in range(count)]
