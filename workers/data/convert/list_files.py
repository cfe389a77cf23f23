"""List files `path label` anywhere: one file, whose splits are drawn, or train.txt, val.txt and test.txt in a folder.

Paths are relative to the list or absolute, and may hold spaces; path and label stand apart by a space, a tab or a
comma. Labels are numbers or names; they are sorted and made contiguous over all lists, and classes.txt keeps them.
"""

from __future__ import annotations

import os
from pathlib import Path

from workers.data.check_findings import some
from workers.data.convert.source import IMAGE_ENDINGS, Example, Listing, Problems, SourceRequest, contiguous

LOOKS_FOR = "a list file of lines 'path label', or a folder with train.txt and test.txt of such lines"
_FILES = {"train": ("train.txt", "train.csv"), "val": ("val.txt", "val.csv"), "test": ("test.txt", "test.csv")}
_LOOKED_AT = 5  # lines


def fits(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in (".txt", ".csv", ".lst", ".tsv") and _looks_like_a_list(path)
    lists = _lists(path)
    return "train" in lists and all(_looks_like_a_list(file) for file in lists.values())


def read(request: SourceRequest) -> Listing:
    """Raises ConversionFailed."""
    path, problems = request.path, Problems(request.path)
    lists: dict[str, Path] = _lists(path) if path.is_dir() else {"": path}
    if path.is_dir() and "train" not in lists:
        problems.add("there is no train.txt")
    found = [(split, *line) for split, file in lists.items() for line in _lines(file, problems)]
    absent = [str(image) for _, image, _ in found if not image.is_file()]
    if absent:
        problems.add(f"{len(absent):,} of {len(found):,} images are not there: {some(absent)}")
    problems.raise_if_any()
    texts = {label for _, _, label in found}
    are_numbers = all(text.isascii() and text.isdecimal() for text in texts)
    classes = contiguous([int(label) if are_numbers else label for _, _, label in found])
    root = Path(os.path.commonpath([image.parent for _, image, _ in found]))
    examples = tuple(
        Example(split or None, f"images/{image.relative_to(root).as_posix()}", image,
                classes[int(label) if are_numbers else label])
        for split, image, label in found
    )  # fmt: skip
    moved = are_numbers and list(classes) != list(range(len(classes)))
    notes = [f"labels {min(classes)}–{max(classes)} were made 0–{len(classes) - 1}"] if moved else []
    names = () if are_numbers and not moved else tuple(str(label) for label in classes)
    return Listing(examples=examples, classes=names, notes=tuple(notes))


def _lists(folder: Path) -> dict[str, Path]:
    return {split: folder / name for split, names in _FILES.items() for name in names if (folder / name).is_file()}


def _lines(file: Path, problems: Problems) -> list[tuple[Path, str]]:
    """(image, label) per line. Paths are made absolute without following links: the names in the list stay."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.add(f"{file.name} cannot be read ({error})")
        return []
    found = []
    for number, line in enumerate(lines, start=1):
        parts = _parted(line)
        if parts is None:
            if line.strip():
                problems.add(f"{file.name}, line {number}: {line!r} is not 'path label'")
            continue
        found.append((Path(os.path.normpath(file.parent.absolute() / parts[0])), parts[1]))
    if not found:
        problems.add(f"{file.name} lists no image")
    return found


def _parted(line: str) -> tuple[str, str] | None:
    """(path, label) by the last tab, comma or space; None where there is none."""
    for sign in ("\t", ",", " "):
        path, _, label = (part.strip() for part in line.rpartition(sign))
        if path and label and (sign == "\t" or Path(path).suffix.lower() in IMAGE_ENDINGS):
            return path, label
    return None


def _looks_like_a_list(file: Path) -> bool:
    try:
        with file.open(encoding="utf-8") as opened:
            lines = [line for _, line in zip(range(_LOOKED_AT), opened, strict=False) if line.strip()]
    except (OSError, UnicodeDecodeError):
        return False
    parted = [_parted(line) for line in lines]
    return bool(parted) and all(one is not None and Path(one[0]).suffix.lower() in IMAGE_ENDINGS for one in parted)
