"""What the image cache is filled from: folders of image files, and the embedded formulas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from workers.data.cache import EntryName, ImageSource
from workers.data.catalogue import EMBEDDED_SUITE
from workers.data.decoding import as_rgb, opened
from workers.data.folders import content_hash, read_list
from workers.errors import DataChanged, Unsupported

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def check_content(folder: Path, found: str, expected: str) -> None:
    """Raises DataChanged when the folder's content is not what the job names."""
    if found != expected:
        raise DataChanged(
            f"data set {folder.name!r} in {folder} has content {found[:16]}, the job expects "
            f"{expected[:16]}: lists or images changed since the plan; plan again or restore the data"
        )


class ListedSource:
    """Image files, resized straight to a square as torchvision's and timm's `Resize` on PIL images."""

    def __init__(self, folder: Path, name: EntryName, listed: Sequence[tuple[str, int]]) -> None:
        """`listed`: (path relative to the folder, label) of each image."""
        self._folder, self._name, self._listed = folder, name, listed

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return np.array([label for _, label in self._listed], dtype=np.int64)

    def images(self) -> Iterator[npt.NDArray[np.uint8]]:
        for relative, _ in self._listed:
            with opened(self._folder / relative) as image:
                pixels = resized(image, self._name)
            yield pixels


class FolderSource(ListedSource):
    """The images of one list."""

    def __init__(self, folder: Path, name: EntryName, cache: Path) -> None:
        """Raises DataChanged when the folder's content is not what the entry is named by."""
        check_content(folder, content_hash(folder, cache), name.data_hash)
        super().__init__(folder, name, read_list(folder, name.split))


class ChosenSource:
    """Some images of another source, by position."""

    def __init__(self, whole: ImageSource, positions: Sequence[int]) -> None:
        self._whole, self._positions = whole, positions

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return self._whole.labels[list(self._positions)]

    def images(self) -> Iterator[npt.NDArray[np.uint8]]:
        wanted = frozenset(self._positions)
        return (image for position, image in enumerate(self._whole.images()) if position in wanted)


class EmbeddedSource:
    """A split of an embedded task, drawn now. `train800val200` is train800 followed by val200."""

    def __init__(self, dataset: str, name: EntryName) -> None:
        self._task = dataset.removeprefix(f"{EMBEDDED_SUITE}/")
        self._name = name

    @cached_property
    def _drawn(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        from workers.embedded.tasks import draw_split

        splits = ("train800", "val200") if self._name.split == "train800val200" else (self._name.split,)
        drawn = [draw_split(self._task, split) for split in splits]
        return np.concatenate([images for images, _ in drawn]), np.concatenate([labels for _, labels in drawn])

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        return self._drawn[1]

    def images(self) -> Iterator[npt.NDArray[np.uint8]]:
        for pixels in self._drawn[0]:
            yield pixels if pixels.shape[0] == self._name.size else resized(Image.fromarray(pixels), self._name)


def resized(image: Image.Image, name: EntryName) -> npt.NDArray[np.uint8]:
    """The image as RGB [size, size, 3], aspect not kept, antialiased as PIL does when it shrinks."""
    if name.interpolation not in _RESAMPLING:
        raise Unsupported(
            f"interpolation {name.interpolation!r} is not known; expected one of {', '.join(_RESAMPLING)}: correct the "
            "backbone's entry"
        )
    return np.asarray(as_rgb(image).resize((name.size, name.size), _RESAMPLING[name.interpolation]))
