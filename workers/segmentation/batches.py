"""Batches of images with their masks: same order, same mirroring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from storage.records import Job
from workers.data.augment import flipped
from workers.data.batches import Batch, Batches
from workers.data.stocks import Split
from workers.data.training import JobTrainingData, Told
from workers.errors import Unsupported
from workers.randomness import generator
from workers.segmentation.images import MaskedImages
from workers.segmentation.objective import mask_loss

_EVALUATED_PIXELS = 32 * 224**2  # of one batch; attention over SAM's 4,096 tokens is what fills memory


class MaskedBatches(Batches):
    """As `Batches`; `labels` and `targets` of a batch are its masks, float [n, 1, size, size] of 0 and 1."""

    def __init__(self, images: MaskedImages, job: Job, device: torch.device) -> None:
        super().__init__(images, job, device)
        self._masks = torch.from_numpy(images.masks)
        self._stored = torch.from_numpy(images.images)

    @property
    def pixels(self) -> Tensor:
        """uint8 [n, size, size, 3] as stored, for pictures of what was predicted."""
        return self._stored

    def trained(self, epoch: int) -> Iterator[Batch]:
        recipe, seed = self._job.recipe, self._job.seed
        draws = generator(seed, "augment", epoch)
        for images, masks in self._pairs(self.order(recipe.batch_size, "order", epoch)):
            both = torch.cat([images, masks], dim=1)  # as one picture of four channels
            shown = flipped(both, draws) if recipe.augment == "flip" else both
            yield Batch(self._normalised(shown[:, :3]), shown[:, 3:], shown[:, 3:])

    def in_order(self) -> Iterator[Batch]:
        for images, masks in self._pairs(list(torch.arange(len(self)).split(self.evaluation_sizes()))):
            yield Batch(self._normalised(images), masks, masks)

    def evaluation_sizes(self) -> list[int]:
        size = max(1, _EVALUATED_PIXELS // self._masks.shape[-1] ** 2)
        whole, rest = divmod(len(self), size)
        return [size] * whole + ([rest] if rest else [])

    def shuffled(self, batch_size: int, *names: str | int) -> Iterator[tuple[Tensor, Tensor]]:
        for images, masks in self._pairs(self.order(batch_size, *names)):
            yield self._normalised(images), masks

    def two_views(self, batch_size: int, *names: str | int) -> Iterator[tuple[Tensor, Tensor]]:
        """Raises Unsupported: views are for losses that compare classes."""
        raise Unsupported("images with masks have no classes, so no method can contrast views of them")

    def _pairs(self, orders: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images in [0, 1] and their masks, batch by batch."""
        for chosen, images in zip(orders, self._fitted(orders), strict=True):
            yield images, self._masks[chosen].to(self._device).float().unsqueeze(1)


class MaskTrainingData(JobTrainingData):
    """The training split as methods may see it, with the loss that masks are trained with."""

    def task_loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return mask_loss(outputs, targets)


def training_data(
    job: Job, batches: Batches, artifacts: Mapping[str, Mapping[str, Tensor]], told: Told
) -> JobTrainingData:
    """The split as methods may see it: with the loss of masks where it has masks."""
    kind = MaskTrainingData if isinstance(batches, MaskedBatches) else JobTrainingData
    return kind(job, batches, artifacts, told)


def batches_of(images: Split, job: Job, device: torch.device) -> Batches:
    """The split as batches: with masks where it has masks."""
    return MaskedBatches(images, job, device) if isinstance(images, MaskedImages) else Batches(images, job, device)
