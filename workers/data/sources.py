"""What the image cache is filled from: folders of image files, and the embedded formulas."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from workers.data.catalogue import EMBEDDED_SUITE
from workers.data.decoding import opened
from workers.data.folders import content_hash, read_list
from workers.data.forms import EntryName, Pixels, in_form, resized_shape
from workers.data.stocks import ImageSource
from workers.errors import DataChanged

_SAMPLED = 64  # image headers read to estimate how much a split takes


def check_content(folder: Path, found: str, expected: str) -> None:
    """Raises DataChanged when the folder's content is not what the job names."""
    if found != expected:
        raise DataChanged(
            f"data set {folder.name!r} in {folder} has content {found[:16]}, the job expects "
            f"{expected[:16]}: lists or images changed since the plan; plan again or restore the data"
        )


class ListedSource:
    """Image files, in the entry's form."""

    def __init__(self, folder: Path, name: EntryName, listed: Sequence[tuple[str, int]]) -> None:
        """`listed`: (path relative to the folder, label) of each image."""
        self._folder, self._name, self._listed = folder, name, listed
        self.labels: npt.NDArray[np.int64] = np.array([label for _, label in listed], dtype=np.int64)

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all images: exact where they are square, else by the shapes of a sample."""
        count = len(self._listed)
        if self._name.is_square:
            return count * 3 * self._name.size**2
        sample = self._listed[:: max(1, count // _SAMPLED)]
        shapes = []
        for relative, _ in sample:
            with opened(self._folder / relative) as image:
                shapes.append(resized_shape(image.size, self._name))
        return 3 * count * sum(width * height for width, height in shapes) // len(sample)

    def decoded(self, index: int) -> Pixels:
        """One image [height, width, 3]. Raises DataMissing, DataUnreadable."""
        with opened(self._folder / self._listed[index][0]) as image:
            return in_form(image, self._name)


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
        self.labels: npt.NDArray[np.int64] = whole.labels[list(positions)]

    @property
    def nbytes(self) -> int:
        """Their share of the bytes of all images."""
        return self._whole.nbytes * len(self._positions) // max(1, len(self._whole.labels))

    def decoded(self, index: int) -> Pixels:
        """One image [height, width, 3]. Raises DataMissing, DataUnreadable."""
        return self._whole.decoded(self._positions[index])


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

    @property
    def nbytes(self) -> int:
        """Bytes of all images; they are square."""
        return len(self.labels) * 3 * self._name.size**2

    def decoded(self, index: int) -> Pixels:
        """One image [height, width, 3]; the first one draws the whole split."""
        pixels = self._drawn[0][index]
        is_as_drawn = self._name.is_square and len(pixels) == self._name.size == (self._name.short_side or len(pixels))
        return pixels if is_as_drawn else in_form(Image.fromarray(pixels), self._name)
