"""Masks of one split, judged; and pictures of the first ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from storage.records import Job
from storage.records.whole import written_whole
from workers.feeds import Feed, Subject
from workers.precision import autocast
from workers.reporting import Reporter
from workers.segmentation.batches import MaskedBatches
from workers.segmentation.objective import confusion, dice, iou, mask_loss, release_dice

_PICTURES = 8
_GAP = 4  # pixels between the three parts of a strip
_HIT, _ADDED, _MISSED = (80, 200, 80), (230, 70, 60), (70, 110, 240)
_BLEND = 0.55


@dataclass(frozen=True)
class MaskEvaluation:
    """`loss`: mean training loss; `counts` int64 [n, 3]: true positives, false positives, false negatives per image, in
    the split's order; `pictures` uint8 [at most 8, size, 3 size + gaps, 3]: image, truth, prediction side by side."""

    loss: float
    counts: npt.NDArray[np.int64]
    pictures: npt.NDArray[np.uint8]

    @property
    def primary_pct(self) -> float:
        """Dice, mean over images."""
        return _mean_pct(dice(torch.from_numpy(self.counts)))

    def metrics(self, kind: str) -> dict[str, float]:
        """`kind`: val or test. Pooled: over the pixels of all images together; release: of those too, as it does."""
        counts = torch.from_numpy(self.counts)
        pooled = counts.sum(dim=0)
        return {
            f"{kind}_loss": self.loss,
            f"{kind}_dice_pct": self.primary_pct,
            f"{kind}_iou_pct": _mean_pct(iou(counts)),
            f"{kind}_dice_pooled_pct": _mean_pct(dice(pooled)),
            f"{kind}_iou_pooled_pct": _mean_pct(iou(pooled)),
            f"{kind}_dice_release_pct": _mean_pct(release_dice(pooled)),
        }

    def save(self, folder: Path) -> dict[str, Path]:
        """Counts per image and pictures, each named by its content. Raises OSError."""
        return {"mask_counts": _save_counts(folder, self.counts), "overlays": _save_pictures(folder, self.pictures)}


@torch.no_grad()
def evaluate_masks(subject: Subject, feed: Feed, job: Job, reporter: Reporter) -> MaskEvaluation:
    """One pass in eval mode and in the recipe's precision; loss and decisions are taken in fp32, at the input size."""
    subject.module.eval()
    counts: list[Tensor] = []
    masks: list[Tensor] = []
    loss, done = 0.0, 0
    for batch in feed.in_order():
        with autocast(job.recipe.precision, batch.images.device):
            logits = subject.forward(batch.images).float()
        loss += mask_loss(logits, batch.targets).item() * len(batch.targets)
        counts.append(confusion(logits, batch.targets).cpu())
        if done < _PICTURES:
            masks.append(torch.cat([batch.targets > 0.5, logits > 0], dim=1)[: _PICTURES - done].cpu())
        done += len(batch.targets)
        reporter.step("evaluate", done, len(feed))
    return MaskEvaluation(loss / done, torch.cat(counts).numpy(), _pictures(feed, torch.cat(masks).numpy()))


def _mean_pct(shares: Tensor) -> float:
    return 100 * shares.mean().item()


def _pictures(feed: Feed, masks: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """`masks`: truth and prediction [n, 2, size, size]. Hits are green, what was added red, what was missed blue."""
    size = masks.shape[-1]
    if isinstance(feed, MaskedBatches):
        images = feed.pixels[: len(masks)].cpu().numpy()
    else:
        images = np.zeros((len(masks), size, size, 3), dtype=np.uint8)
    truth, predicted = masks[:, 0], masks[:, 1]
    strips = np.full((len(masks), size, 3 * size + 2 * _GAP, 3), 255, dtype=np.uint8)
    shown = (
        images,
        _painted(images, ((truth, _HIT),)),
        _painted(images, ((truth & predicted, _HIT), (predicted & ~truth, _ADDED), (truth & ~predicted, _MISSED))),
    )
    for at, part in enumerate(shown):
        start = at * (size + _GAP)
        strips[:, :, start : start + size] = part
    return strips


def _painted(
    images: npt.NDArray[np.uint8], layers: tuple[tuple[npt.NDArray[np.bool_], tuple[int, int, int]], ...]
) -> npt.NDArray[np.uint8]:
    painted = images.astype(np.float32)
    for mask, colour in layers:
        painted[mask] = (1 - _BLEND) * painted[mask] + _BLEND * np.array(colour, dtype=np.float32)
    return painted.round().astype(np.uint8)


def _save_counts(folder: Path, counts: npt.NDArray[np.int64]) -> Path:
    names = ("true_positives", "false_positives", "false_negatives")
    plain = counts.astype("<i8")
    path = folder / f"{hashlib.sha256(plain.tobytes()).hexdigest()[:32]}.npz"
    if not path.exists():
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **dict(zip(names, plain.T, strict=True)))
    return path


def _save_pictures(folder: Path, strips: npt.NDArray[np.uint8]) -> Path:
    """One PNG, the strips below each other."""
    path = folder / f"{hashlib.sha256(strips.tobytes()).hexdigest()[:32]}.png"
    if not path.exists():
        sheet = np.concatenate([np.pad(strip, ((0, _GAP), (0, 0), (0, 0)), constant_values=255) for strip in strips])
        with written_whole(path) as temporary, temporary.open("wb") as file:
            Image.fromarray(sheet).save(file, format="PNG")
    return path
