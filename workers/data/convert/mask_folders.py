"""Segmentation: `images/` and `masks/` with files of the same stem (Kvasir-SEG, and any other set laid out so).

The converted lists say `images/x.jpg masks/x.png`. Kvasir-SEG publishes no split; 120 of its 1,000 images are the test
split here (880 to 120, Medico 2020), drawn by `splitting`, so that everybody who converts it has the same one.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from workers.data.check_findings import some
from workers.data.convert.source import IMAGE_ENDINGS, Example, Listing, Problems, SourceRequest

LOOKS_FOR = "images/ and masks/ with files of the same names (Kvasir-SEG)"
_ROOTS = ("", "Kvasir-SEG", "kvasir-seg")


def fits(path: Path) -> bool:
    return _root(path) is not None


def read(request: SourceRequest) -> Listing:
    """Raises ConversionFailed."""
    problems = Problems(request.path)
    root = _root(request.path)
    if root is None:
        problems.add("there are no folders images and masks")
        problems.raise_if_any()
        return Listing(examples=())
    images, masks = (_files(root / name, problems) for name in ("images", "masks"))
    for word, have, lack in (("mask", images, masks), ("image", masks, images)):
        alone = sorted(have[stem].name for stem in have.keys() - lack.keys())
        if alone:
            problems.add(f"{len(alone):,} files have no {word}: {some(alone)}")
    if not images:
        problems.add(f"{root / 'images'} holds no image")
    pairs = [(images[stem], masks[stem]) for stem in images if stem in masks]
    sizes = [(image, _size(image, problems), mask, _size(mask, problems)) for image, mask in pairs]
    unequal = [f"{image.name} {size}" for image, size, _, other in sizes if size and other and size != other]
    if unequal:
        problems.add(f"{len(unequal):,} masks have another size than their images: {some(unequal)}")
    problems.raise_if_any()
    examples = tuple(
        Example(None, f"images/{image.name}", image, mask=(f"masks/{mask.name}", mask)) for image, mask in pairs
    )
    return Listing(examples=examples)


def _root(path: Path) -> Path | None:
    roots = (path / name for name in _ROOTS)
    return next((root for root in roots if (root / "images").is_dir() and (root / "masks").is_dir()), None)


def _files(folder: Path, problems: Problems) -> dict[str, Path]:
    """Stem -> file, in the order of names."""
    files = sorted(
        file for file in folder.iterdir() if file.suffix.lower() in IMAGE_ENDINGS and not file.name.startswith(".")
    )
    twice = [stem for stem, count in Counter(file.stem for file in files).items() if count > 1]
    if twice:
        problems.add(f"{folder}: {len(twice):,} names occur with two endings: {some(twice)}")
    return {file.stem: file for file in files}


def _size(file: Path, problems: Problems) -> tuple[int, int] | None:
    """(width, height) in pixels, from the header."""
    try:
        with Image.open(file) as image:
            return image.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        problems.add(f"{file} is no image that can be read")
        return None
