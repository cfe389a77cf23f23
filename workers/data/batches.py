"""From decoded images to normalised batches on the device. Order and augmentation depend on (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from torch import Generator, Tensor

from storage.records import Job
from workers.data.augment import flipped, random_resized_crop, recoloured
from workers.data.crops import Boxes, random_boxes, resized_crops, shapes_of, shifted_boxes
from workers.data.forms import LARGE, SHORT
from workers.data.mixing import mixed
from workers.data.stocks import Images, ImageSet, Split
from workers.errors import Unsupported
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

    def __init__(self, split: Split, job: Job, device: torch.device) -> None:
        self._split = split
        self._labels = torch.from_numpy(split.labels)
        self._job, self._device = job, device
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
        orders = self.order(recipe.batch_size, "order", epoch)
        for chosen, unit in zip(orders, self._augmented(orders, draws), strict=True):
            labels = self._labels[chosen].to(self._device)
            images, targets = self._normalised(unit), labels
            if recipe.mixes:
                images, targets = mixed(images, labels, self._job.dataset.classes, recipe, mixing)
            yield Batch(images, labels, targets)

    def in_order(self) -> Iterator[Batch]:
        """All images once, in the order of the split, without augmentation."""
        orders = list(torch.arange(len(self)).split(self.evaluation_sizes()))
        for chosen, images in zip(orders, self._fitted(orders), strict=True):
            labels = self._labels[chosen].to(self._device)
            yield Batch(self._normalised(images), labels, labels)

    def evaluation_sizes(self) -> list[int]:
        """How `in_order` cuts the split; fixed, since the last bits of logits may depend on it."""
        whole, rest = divmod(len(self), EVALUATION_BATCH)
        return [EVALUATION_BATCH] * whole + ([rest] if rest else [])

    def shuffled(self, batch_size: int, *names: str | int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass without augmentation, its order drawn under that name: images [n, 3, s, s] and labels [n]."""
        orders = self.order(batch_size, *names)
        for chosen, images in zip(orders, self._fitted(orders), strict=True):
            yield self._normalised(images), self._labels[chosen].to(self._device)

    def two_views(self, batch_size: int, *names: str | int) -> Iterator[tuple[Tensor, Tensor]]:
        """As `shuffled`, with two independently augmented views of each image: [n, 2, 3, s, s]."""
        draws = generator(self._job.seed, "views", *names)
        orders = self.order(batch_size, *names)
        for chosen, crop in zip(orders, self._crops(orders, draws), strict=True):
            views = [recoloured(crop(), draws) for _ in range(2)]
            yield self._normalised(torch.stack(views, dim=1)), self._labels[chosen].to(self._device)

    def order(self, batch_size: int, *names: str | int) -> list[Tensor]:
        """Indices of each batch of one pass, drawn from (seed, names)."""
        return list(self.rows(batch_size, *names).unbind())

    def rows(self, batch_size: int, *names: str | int) -> Tensor:
        """`order` as one tensor [steps, batch]."""
        shuffled = torch.randperm(len(self), generator=generator(self._job.seed, *names))
        steps = self.steps(batch_size)
        return shuffled[: steps * batch_size].view(steps, -1)

    def _augmented(self, orders: Sequence[Tensor], draws: Generator) -> Iterator[Tensor]:
        """Training images [n, 3, size, size] in [0, 1], batch by batch, cropped and flipped as the recipe says."""
        augment = self._job.recipe.augment
        images: Iterator[Tensor]
        if augment == "crop_flip":
            images = (crop() for crop in self._crops(orders, draws))
        elif augment == "shift_flip":
            images = self._shifted(orders, draws)
        else:
            images = self._fitted(orders)
        for batch in images:
            yield batch if augment == "none" else flipped(batch, draws)

    def _fitted(self, orders: Sequence[Tensor]) -> Iterator[Tensor]:
        """Images as they are evaluated, in [0, 1]: [n, 3, size, size] on the device."""
        if self._resident is not None:
            for chosen in orders:
                yield _unit(self._resident[chosen.to(self._resident.device)].to(self._device))
        else:
            for images in self._split.fitted().each([chosen.numpy() for chosen in orders]):
                yield _unit(torch.from_numpy(np.stack(list(images))).to(self._device))

    @cached_property
    def _resident(self) -> Tensor | None:
        """All fitted images [all, size, size, 3], on the device where they are few; None where they are streamed."""
        stock = self._split.fitted()
        if not isinstance(stock, ImageSet):
            return None
        pixels = torch.from_numpy(stock.images)
        is_moved = self._device.type != "cpu" and pixels.nbytes <= _KEPT_ON_DEVICE_BYTES
        return pixels.to(self._device) if is_moved else pixels

    def _crops(self, orders: Sequence[Tensor], draws: Generator) -> Iterator[Callable[[], Tensor]]:
        """For each batch, what draws and makes random resized crops of it [n, 3, size, size], new ones at each call."""
        interpolation = self._job.backbone.interpolation
        stock = self._split.uncropped(LARGE)
        if stock is None:
            for unit in self._fitted(orders):
                yield partial(random_resized_crop, unit, interpolation, draws)
        else:
            for images in stock.each([chosen.numpy() for chosen in orders]):
                yield partial(self._cut_at_random, images, draws)

    def _shifted(self, orders: Sequence[Tensor], draws: Generator) -> Iterator[Tensor]:
        """Images cut at input size from ones that are a little larger, where there are any."""
        stock = self._split.uncropped(SHORT)
        if stock is None:
            yield from self._fitted(orders)
        else:
            for images in stock.each([chosen.numpy() for chosen in orders]):
                yield self._cut(images, shifted_boxes(*shapes_of(images), self._size, draws))

    def _cut_at_random(self, images: Images, draws: Generator) -> Tensor:
        return self._cut(images, random_boxes(*shapes_of(images), draws))

    def _cut(self, images: Images, boxes: Boxes) -> Tensor:
        return resized_crops(images, boxes, self._size, self._job.backbone.interpolation, self._device)

    @property
    def _size(self) -> int:
        if self._job.recipe.image_size is None:
            raise Unsupported("recipe.image_size is not resolved; a job carries a number of pixels: plan it again")
        return self._job.recipe.image_size

    def _normalised(self, images: Tensor) -> Tensor:
        return (images - self._mean).div_(self._std)


def _unit(pixels: Tensor) -> Tensor:
    """uint8 [n, size, size, 3] -> [n, 3, size, size] in [0, 1]. Bytes are transposed, not floats: a third less time."""
    return pixels.permute(0, 3, 1, 2).contiguous().float().div_(255)
