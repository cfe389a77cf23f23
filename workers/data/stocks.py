"""Images as batches read them: in memory or mapped from the cache, of one shape or of their own, or decoded from files
on the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Protocol

import numpy as np
import numpy.typing as npt

from workers.data.forms import Pixels

_BATCHES_AHEAD = 3

Labels = npt.NDArray[np.int64]
Indices = npt.NDArray[np.int64]
Images = Pixels | list[Pixels]
"""Images of a batch: [n, size, size, 3], or a list of [height, width, 3]."""
Progressed = Callable[[int, int], None]
"""Told (images done, images in all), also while waiting for another process."""


class Stock(Protocol):
    """The images of one split in one form."""

    @property
    def labels(self) -> Labels:
        """Labels [n], in the order of the split."""

    def each(self, orders: Sequence[Indices]) -> Iterator[Images]:
        """The images that each batch names, batch by batch."""


class Split(Protocol):
    """One split in all the forms that its job may read."""

    @property
    def labels(self) -> Labels:
        """Labels [n], in the order of the split."""

    def fitted(self) -> Stock:
        """The images at input size [size, size, 3]."""

    def uncropped(self, form: str) -> Stock | None:
        """The images that random crops are drawn from; None where that is the fitted ones."""


class ImageSource(Protocol):
    """Where images come from that are not in the cache."""

    @property
    def labels(self) -> Labels:
        """Labels [n], in the order of the images."""

    @property
    def nbytes(self) -> int:
        """Bytes of all images in their form: exact where they are square, else estimated."""

    def decoded(self, index: int) -> Pixels:
        """One image [height, width, 3]; called from several threads."""


@dataclass(frozen=True)
class ImageSet:
    """Decoded images uint8 [n, size, size, 3] (RGB; where memory-mapped, never written to disk) and labels int64 [n].

    `held` keeps the entry of the cache from being evicted as long as somebody has this object.
    """

    images: Pixels
    labels: Labels
    held: object = field(default=None, repr=False, compare=False)

    def each(self, orders: Sequence[Indices]) -> Iterator[Images]:
        return (self.images[chosen] for chosen in orders)

    def taken(self, chosen: Indices) -> ImageSet:
        """Some of the images; one may be taken several times."""
        return ImageSet(self.images[chosen], self.labels[chosen])

    def fitted(self) -> ImageSet:
        return self

    def uncropped(self, form: str) -> None:
        return None


@dataclass(frozen=True)
class PackedSet:
    """Images of their own shapes, one after another in `flat` uint8; `shapes` int64 [n, 2] are heights and widths."""

    flat: Pixels
    shapes: npt.NDArray[np.int64]
    labels: Labels
    held: object = field(default=None, repr=False, compare=False)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        return np.concatenate([[0], np.cumsum(3 * self.shapes.prod(axis=1))])

    def each(self, orders: Sequence[Indices]) -> Iterator[Images]:
        return ([self._image(int(index)) for index in chosen] for chosen in orders)

    def _image(self, index: int) -> Pixels:
        height, width = self.shapes[index]
        return self.flat[self._starts[index] : self._starts[index + 1]].reshape(height, width, 3)


class StreamedSet:
    """Images decoded when a batch asks for them, by a few threads that work ahead: nothing is kept."""

    def __init__(self, source: ImageSource, threads: int) -> None:
        self._source, self._threads = source, threads

    @property
    def labels(self) -> Labels:
        return self._source.labels

    def each(self, orders: Sequence[Indices]) -> Iterator[Images]:
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="decode")

        def begun(chosen: Indices) -> list[Future[Pixels]]:
            return [pool.submit(self._source.decoded, int(index)) for index in chosen]

        try:
            upcoming = iter(orders)
            ahead = deque(begun(chosen) for chosen in islice(upcoming, _BATCHES_AHEAD))
            while ahead:
                yield [future.result() for future in ahead.popleft()]
                ahead.extend(begun(chosen) for chosen in islice(upcoming, 1))
        finally:
            pool.shutdown(cancel_futures=True)


def in_memory(source: ImageSource, count: int, is_square: bool) -> ImageSet | PackedSet:
    """The first images of a source, at most `count`, decoded now."""
    labels = source.labels[:count]
    images = [source.decoded(index) for index in range(len(labels))]
    if is_square:
        return ImageSet(np.stack(images), labels)
    shapes = np.array([image.shape[:2] for image in images], dtype=np.int64)
    return PackedSet(np.concatenate([image.reshape(-1) for image in images]), shapes, labels)


class JobSplit:
    """A split whose forms are opened when they are first read."""

    def __init__(self, labels: Callable[[], Labels], forms: Mapping[str, Callable[[], Stock]], fitted: str) -> None:
        """`fitted` names the form at input size."""
        self._labels, self._forms, self._fitted = labels, forms, fitted
        self._opened: dict[str, Stock] = {}  # kept: what a job still reads must not be evicted between two epochs

    @cached_property
    def labels(self) -> Labels:
        return self._labels()

    def fitted(self) -> Stock:
        return self._stock(self._fitted)

    def uncropped(self, form: str) -> Stock | None:
        return self._stock(form) if form in self._forms else None

    def _stock(self, form: str) -> Stock:
        if form not in self._opened:
            self._opened[form] = self._forms[form]()
        return self._opened[form]


def chosen_of(split: Split, indices: Indices) -> Split:
    """A split made of some images of another; an image may come several times."""
    if isinstance(split, ImageSet):
        return split.taken(indices)
    return _Chosen(split, indices)


class _Chosen:
    def __init__(self, split: Split, indices: Indices) -> None:
        self._split, self._indices = split, indices

    @property
    def labels(self) -> Labels:
        return self._split.labels[self._indices]

    def fitted(self) -> Stock:
        return _ChosenStock(self._split.fitted(), self._indices)

    def uncropped(self, form: str) -> Stock | None:
        stock = self._split.uncropped(form)
        return None if stock is None else _ChosenStock(stock, self._indices)


class _ChosenStock:
    def __init__(self, stock: Stock, indices: Indices) -> None:
        self._stock, self._indices = stock, indices

    @property
    def labels(self) -> Labels:
        return self._stock.labels[self._indices]

    def each(self, orders: Sequence[Indices]) -> Iterator[Images]:
        return self._stock.each([self._indices[chosen] for chosen in orders])
