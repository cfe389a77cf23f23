"""Trees of class folders, as torchvision's ImageFolder reads them: `train/CLASS/x.jpg, test/CLASS/x.jpg`, or
`CLASS/x.jpg` alone, where the splits are drawn. Classes are numbered by their sorted names, over all splits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from workers.data.check_findings import some
from workers.data.convert.source import IMAGE_ENDINGS, Example, Listing, Problems, SourceRequest, contiguous

LOOKS_FOR = "class folders with images: train/CLASS/x.jpg and test/CLASS/x.jpg, or CLASS/x.jpg"
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
           "testing": "test"}  # fmt: skip


def fits(path: Path) -> bool:
    if not path.is_dir():
        return False
    splits = _split_folders(path)
    roots = [folder for folders in splits.values() for folder in folders] if splits else [path]
    classes = {folder.name: folder for root in roots for folder in _folders(root)}
    if not classes or (not splits and ("images" in classes or (path / "train.txt").is_file())):
        return False
    return any(_holds_images(folder) for folder in classes.values())


def read(request: SourceRequest) -> Listing:
    """Raises ConversionFailed."""
    root, problems = request.path, Problems(request.path)
    splits = _split_folders(root)
    if splits and "train" not in splits:
        problems.add(f"there is no folder train beside {', '.join(sorted(splits))}")
    found: list[tuple[str | None, str, Path]] = []
    ignored: list[str] = []
    for split, folder in _parts(root, splits):
        classes = _folders(folder)
        if not classes:
            problems.add(f"{folder} holds no class folders")
        ignored += [str(file.relative_to(root)) for file in sorted(folder.iterdir()) if file.is_file()]
        for one in classes:
            images, others = _files(one)
            found += [(split, one.name, image) for image in images]
            ignored += [str(file.relative_to(root)) for file in others]
            if not images:
                problems.add(f"class folder {one} holds no image ({', '.join(sorted(IMAGE_ENDINGS))})")
    problems.raise_if_any()
    numbers = contiguous([name for _, name, _ in found])
    examples = tuple(
        Example(split, f"images/{image.relative_to(root).as_posix()}", image, numbers[name])
        for split, name, image in found
    )
    notes = [f"{len(ignored):,} files that are no images were left out: {some(ignored)}"] if ignored else []
    return Listing(examples=examples, classes=tuple(str(name) for name in numbers), notes=tuple(notes))


def _parts(root: Path, splits: Mapping[str, list[Path]]) -> list[tuple[str | None, Path]]:
    if not splits:
        return [(None, root)]
    return [(split, folder) for split in ("train", "val", "test") for folder in splits.get(split, [])]


def _split_folders(path: Path) -> dict[str, list[Path]]:
    """Split -> its folders, {} where this is one tree of classes."""
    found: dict[str, list[Path]] = {}
    for folder in _folders(path):
        if folder.name.lower() in _SPLITS:
            found.setdefault(_SPLITS[folder.name.lower()], []).append(folder)
    return found


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _holds_images(folder: Path) -> bool:
    return any(
        Path(name).suffix.lower() in IMAGE_ENDINGS
        for _, _, names in os.walk(folder, followlinks=True)
        for name in names
    )


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """(images, other files) under a class folder, sorted by path; hidden files are neither."""
    every = [
        Path(place) / name
        for place, _, names in os.walk(folder, followlinks=True)
        for name in names
        if not name.startswith(".")
    ]
    images = sorted(file for file in every if file.suffix.lower() in IMAGE_ENDINGS)
    return images, sorted(set(every) - set(images))
