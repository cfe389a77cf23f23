"""FGVC as visual prompt tuning splits it: `train.json val.json test.json`, file name -> class id, beside the images.

As in VPT's loader the class ids are sorted and made contiguous, over all three files. The images lie in the folder of
the three files or in `images` or `Images` under it (CUB, NABirds; Dogs).
"""

from __future__ import annotations

import json
from pathlib import Path

from workers.data.check_findings import some
from workers.data.convert.places import FGVC_SUITE
from workers.data.convert.source import Example, Listing, Problems, SourceRequest, contiguous

LOOKS_FOR = "train.json, val.json and test.json (VPT's FGVC splits) beside the images"
_FILES = {"train": "train.json", "val": "val.json", "test": "test.json"}
_ROOTS = ("", "images", "Images")


def fits(path: Path) -> bool:
    return all((path / name).is_file() for name in _FILES.values())


def read(request: SourceRequest) -> Listing:
    """Raises ConversionFailed."""
    problems = Problems(request.path)
    splits = {split: _ids(request.path / name, problems) for split, name in _FILES.items()}
    names = [name for ids in splits.values() for name in ids]
    root = max(
        (request.path / root for root in _ROOTS), key=lambda root: sum((root / name).is_file() for name in names)
    )
    absent = [name for name in names if not (root / name).is_file()]
    if absent:
        problems.add(f"{len(absent):,} of {len(names):,} images are not in {root}: {some(absent)}")
    outside = [name for name in names if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        problems.add(f"{len(outside):,} paths leave the folder: {some(outside)}")
    problems.raise_if_any()
    classes = contiguous([label for ids in splits.values() for label in ids.values()])
    examples = tuple(
        Example(split, f"images/{name}", root / name, classes[label])
        for split, ids in splits.items()
        for name, label in ids.items()
    )
    return Listing(examples=examples, suite=FGVC_SUITE)


def _ids(path: Path, problems: Problems) -> dict[str, int]:
    """File name -> class id of one file."""
    twice: list[str] = []

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice.extend(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        return found

    try:
        record = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)
    except (OSError, ValueError) as error:
        problems.add(f"{path.name} cannot be read ({error})")
        return {}
    if not isinstance(record, dict) or not record:
        problems.add(f"{path.name} is no object of file names with class ids")
        return {}
    if twice:
        problems.add(f"{path.name}: {len(twice):,} names occur twice: {some(twice)}")
    wrong = [f"{name}: {label!r}" for name, label in record.items() if type(label) is not int or label < 0]
    if wrong:
        problems.add(f"{path.name}: {len(wrong):,} class ids are no whole numbers from 0: {some(wrong)}")
    return {name: label for name, label in record.items() if type(label) is int}
