"""Test images that are decoded as they are evaluated and kept nowhere: a set of millions fits into no cache."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from storage.records import Job
from workers.data.batches import EVALUATION_BATCH, Batch, Batches
from workers.data.cache import ImageSet, ImageSource


class StreamedImages:
    """A source as batches, once and in order; the batches are those of `Batches.in_order` on the same images."""

    def __init__(self, source: ImageSource, job: Job, device: torch.device) -> None:
        self._source, self._job, self._device = source, job, device
        self._labels = source.labels

    def __len__(self) -> int:
        """Number of images."""
        return len(self._labels)

    def in_order(self) -> Iterator[Batch]:
        """All images once. Raises DataMissing, DataUnreadable."""
        images, start = self._source.images(), 0
        while chunk := list(islice(images, EVALUATION_BATCH)):
            part = ImageSet(np.stack(chunk), self._labels[start : start + len(chunk)])
            yield from Batches(part, self._job, self._device).in_order()
            start += len(chunk)
