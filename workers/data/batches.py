"""From decoded images to normalised batches on the device. Order and augmentation depend on (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from storage.records import Job
from workers.data.augment import contrastive_view, flipped, random_resized_crop
from workers.data.cache import ImageSet
from workers.data.mixing import mixed
from workers.randomness import generator, numpy_generator

_KEPT_ON_DEVICE_BYTES = 1 << 30
EVALUATION_BATCH = 128


@dataclass(frozen=True)
class Batch:
    """`images` [n, 3, size, size] normalised; `labels` int64 [n]; `targets`: labels, or shares [n, classes]."""

    images: Tensor
    labels: Tensor
    targets: Tensor


class Batches:
    """One split on one device, as batches of the job's recipe."""

    def __init__(self, images: ImageSet, job: Job, device: torch.device) -> None:
        self._pixels = torch.from_numpy(images.images)
        self._labels = torch.from_numpy(images.labels)
        self._job, self._device = job, device
        if device.type != "cpu" and self._pixels.nbytes <= _KEPT_ON_DEVICE_BYTES:
            self._pixels = self._pixels.to(device)
        self._mean = torch.tensor(job.backbone.mean, device=device)[:, None, None]
        self._std = torch.tensor(job.backbone.std, device=device)[:, None, None]

    def __len__(self) -> int:
        """Number of images."""
        return len(self._labels)

    @property
    def labels(self) -> Tensor:
        """int64 [n], in the order of the split, on the device."""
        return self._labels.to(self._device)

    def steps(self, batch_size: int) -> int:
        """Full batches in one pass; one smaller batch when the split has fewer images than that."""
        return max(1, len(self) // batch_size)

    def trained(self, epoch: int) -> Iterator[Batch]:
        """One training pass in the order and augmentation of that epoch (0-based); the partial batch is dropped."""
        recipe, seed = self._job.recipe, self._job.seed
        draws, mixing = generator(seed, "augment", epoch), numpy_generator(seed, "mix", epoch)
        for chosen in self.order(recipe.batch_size, "order", epoch):
            images, labels = self._unit(chosen), self._labels[chosen].to(self._device)
            if recipe.augment == "crop_flip":
                images = random_resized_crop(images, self._job.backbone.interpolation, draws)
            if recipe.augment in ("flip", "crop_flip"):
                images = flipped(images, draws)
            images, targets = self._normalised(images), labels
            if recipe.mixes:
                images, targets = mixed(images, labels, self._job.dataset.classes, recipe, mixing)
            yield Batch(images, labels, targets)

    def in_order(self) -> Iterator[Batch]:
        """All images once, in the order of the split, without augmentation."""
        for chosen in torch.arange(len(self)).split(self.evaluation_sizes()):
            labels = self._labels[chosen].to(self._device)
            yield Batch(self._normalised(self._unit(chosen)), labels, labels)

    def evaluation_sizes(self) -> list[int]:
        """How `in_order` cuts the split; fixed, since the last bits of logits may depend on it."""
        whole, rest = divmod(len(self), EVALUATION_BATCH)
        return [EVALUATION_BATCH] * whole + ([rest] if rest else [])

    def shuffled(self, batch_size: int, *names: str | int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass without augmentation, its order drawn under that name: images [n, 3, s, s] and labels [n]."""
        for chosen in self.order(batch_size, *names):
            yield self._normalised(self._unit(chosen)), self._labels[chosen].to(self._device)

    def two_views(self, batch_size: int, *names: str | int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `shuffled`, with two independently augmented views of each image: [n, 2, 3, s, s]."""
        draws = generator(self._job.seed, "views", *names)
        for chosen in self.order(batch_size, *names):
            unit = self._unit(chosen)
            views = [contrastive_view(unit, self._job.backbone.interpolation, draws) for _ in range(2)]
            yield self._normalised(torch.stack(views, dim=1)), self._labels[chosen].to(self._device)

    def order(self, batch_size: int, *names: str | int) -> list[Tensor]:
        """Indices of each batch of one pass, drawn from (seed, names)."""
        shuffled = torch.randperm(len(self), generator=generator(self._job.seed, *names))
        return list(shuffled.split(batch_size))[: self.steps(batch_size)]

    def _unit(self, chosen: Tensor) -> Tensor:
        """Images in [0, 1]: [n, 3, size, size] on the device."""
        pixels = self._pixels[chosen.to(self._pixels.device)].to(self._device)
        return pixels.permute(0, 3, 1, 2).float().div_(255).contiguous()

    def _normalised(self, images: Tensor) -> Tensor:
        return (images - self._mean) / self._std
