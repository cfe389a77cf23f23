"""What a source of images is to the converter: a list of examples, read whole and checked before anything is written.

One module per kind; each has `LOOKS_FOR` (what it recognises, for people), `fits(path)` and `read(request)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from workers.data.suite_files import SuiteDataset
from workers.errors import ConversionFailed

Content = Path | Callable[[], bytes]
"""A file, taken over byte for byte, or what gives the bytes of one (called once, in the order of the examples)."""

IMAGE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})
"""Those of torchvision's ImageFolder."""

_SHOWN = 20  # problems that a message lists


@dataclass(frozen=True)
class Example:
    """One image. `split`: "train", "val", "test", or None where the source has no splits; `name`: its path in the
    converted folder; `label`: from 0, and 0 where there is a `mask` (its path there, and the file)."""

    split: str | None
    name: str
    content: Content
    label: int = 0
    mask: tuple[str, Path] | None = None


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All examples of a source in its order.

    `classes`: their names in the order of labels, () where unknown; `suite`: the benchmark whose published splits these
    are, None where they are anybody's; `trainval`: names of train and val images in the order of the published list,
    None for train followed by val; `notes`: what a person should know, kept in the card.
    """

    examples: tuple[Example, ...]
    classes: tuple[str, ...] = ()
    suite: str | None = None
    trainval: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SourceRequest:
    """What to read: `part` is the class of a torchvision download, `label` the column or feature that holds the label
    (None: the only one), `task` the benchmark's set that it is to become, if it is one."""

    path: Path
    part: str | None = None
    label: str | None = None
    task: SuiteDataset | None = None


class SourceKind(Protocol):
    """What a module of a kind offers. `read` raises ConversionFailed with every problem at once."""

    LOOKS_FOR: str

    def fits(self, path: Path) -> bool: ...

    def read(self, request: SourceRequest) -> Listing: ...


class Problems:
    """What is wrong with a source, gathered to be told at once."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.texts: list[str] = []

    def add(self, text: str) -> None:
        self.texts.append(text)

    def raise_if_any(self) -> None:
        """Raises ConversionFailed."""
        if self.texts:
            raise ConversionFailed(told(f"{self.source} cannot be converted", self.texts))


def told(what: str, problems: Sequence[str]) -> str:
    """One message of several problems, each on its line."""
    lines = [f"{what}; nothing was written:", *(f"  - {text}" for text in problems[:_SHOWN])]
    if len(problems) > _SHOWN:
        lines.append(f"  - and {len(problems) - _SHOWN:,} more")
    return "\n".join(lines)


def missing_package(package: str, what: str) -> ConversionFailed:
    """The error for a kind whose package is not installed."""
    return ConversionFailed(f"{what} needs the package {package}: pip install {package}")


def ending_of(image: bytes) -> str:
    """The file ending of encoded image bytes, "" where they are none that is known."""
    starts = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", b"BM": ".bmp", b"II*\0": ".tif", b"MM\0*": ".tif"}
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return ".webp"
    return next((ending for start, ending in starts.items() if image.startswith(start)), "")


def contiguous(labels: Sequence[str | int]) -> dict[str | int, int]:
    """Label of a source -> class from 0, in sorted order."""
    return {
        label: number for number, label in enumerate(sorted(set(labels), key=lambda label: (str(type(label)), label)))
    }
