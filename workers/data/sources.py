"""What the image cache is filled from: folders of image files, and the embedded formulas."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from workers.data.catalogue import EMBEDDED_SUITE
from workers.data.decoding import opened
from workers.data.folders import content_hash, read_list
from workers.data.forms import EntryName, Pixels, in_form, resized_shape
from workers.errors import DataChanged

_SAMPLED = 64  # image headers read to estimate how much a split takes


class FolderSource:
    """Image files of one list, in the entry's form."""

    def __init__(self, folder: Path, name: EntryName, cache: Path) -> None:
        """Raises DataChanged when the folder's content is not what the entry is named by."""
        found = content_hash(folder, cache)
        if found != name.data_hash:
            raise DataChanged(
                f"data set {folder.name!r} in {folder} has content {found[:16]}, the job expects "
                f"{name.data_hash[:16]}: lists or images changed since the plan; plan again or restore the data"
            )
        self._folder, self._name = folder, name
        self._listed = read_list(folder, name.split)

        self.labels: npt.NDArray[np.int64] = np.array([label for _, label in self._listed], dtype=np.int64)

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
