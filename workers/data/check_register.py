"""Do two pictures show the same scene, moved, turned a little or mirrored? By correlation of small grey images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.float32]
Spectra = npt.NDArray[np.complex64]

_LONG_SIDE = 48  # pixels; enough to tell scenes apart, small enough for thousands of pairs
_PADDED = 64  # room for shifts of a third of the picture
_ANGLES = tuple(range(-28, 29, 4))  # degrees; augmentation rarely turns further
_BAND = 6  # pixels: radius of the local mean that is taken off, so that lighting does not correlate
_FILL_LEVEL = 20  # darker in all channels: corners that augmentation has left empty
_LEAST_CONTRAST = 40.0  # norm below which a picture is too flat to be told from another
_HISTOGRAM_SIDE = 96


def colours(image: Image.Image) -> Pixels:
    """Square roots of a histogram of 4,096 colours, empty corners left out: a dot product is Bhattacharyya's
    coefficient, and moving, turning and mirroring change little of it."""
    small = image.copy()
    small.thumbnail((_HISTOGRAM_SIDE, _HISTOGRAM_SIDE), Image.Resampling.BOX)
    pixels = np.asarray(small).reshape(-1, 3)
    filled = pixels[pixels.max(axis=1) > _FILL_LEVEL]
    levels = (filled if 2 * len(filled) > len(pixels) else pixels).astype(np.int64) >> 4
    counts = np.bincount((levels[:, 0] * 16 + levels[:, 1]) * 16 + levels[:, 2], minlength=4096)
    return np.sqrt(counts / counts.sum()).astype(np.float32)


def thumbnail(image: Image.Image) -> Image.Image:
    """The picture as it is compared: its long side 48 pixels, its aspect kept."""
    scale = _LONG_SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX)


def spectrum(picture: Image.Image) -> Spectra:
    """The Fourier transform of a thumbnail, band-passed and of norm 1; zero where it is too flat to be compared."""
    return _spectra([picture])[0]


def turned_spectra(picture: Image.Image) -> Spectra:
    """Spectra [poses, …] of a thumbnail in every pose that is tried: turned, and mirrored and turned."""
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _spectra(
        [face.rotate(angle, Image.Resampling.BILINEAR) for face in (picture, mirrored) for angle in _ANGLES]
    )


def likeness(poses: Spectra, others: Sequence[Spectra]) -> Pixels:
    """The best correlation of any pose with each of the others at any shift: [len(others)], 1 where they are equal."""
    product = poses[None] * np.stack(others)[:, None].conj()
    peaks = np.fft.irfft2(product, (_PADDED, _PADDED)).reshape(len(others), -1).max(axis=1)
    return peaks.astype(np.float32)


def _spectra(pictures: Sequence[Image.Image]) -> Spectra:
    """Transforms [n, …] of pictures of one size: grey, local mean taken off, empty corners zero, norm 1."""
    colour = np.stack([np.asarray(picture, dtype=np.float32) for picture in pictures])
    filled = colour.max(axis=3) > _FILL_LEVEL
    filled |= filled.mean(axis=(1, 2), keepdims=True) < 0.5  # a dark picture, not one with corners
    grey = np.where(filled, colour.mean(axis=3), 0)
    there = filled.astype(np.float32)
    inside = _local_mean(there, 1) > 0.95  # nor the border of picture and corner
    banded = np.where(inside, grey - _local_mean(grey, _BAND) / np.maximum(_local_mean(there, _BAND), 0.15), 0)
    norm = np.sqrt((banded**2).sum(axis=(1, 2), keepdims=True))
    unit = np.where(norm > _LEAST_CONTRAST, banded / np.maximum(norm, _LEAST_CONTRAST), 0)
    return np.fft.rfft2(unit, (_PADDED, _PADDED)).astype(np.complex64, copy=False)


def _local_mean(values: Pixels, radius: int) -> Pixels:
    """Mean over a square window of each of [n, height, width]; outside the picture is zero."""
    side, border = 2 * radius + 1, (radius + 1, radius)
    sums = np.pad(values, ((0, 0), border, border)).cumsum(axis=1).cumsum(axis=2)
    return (sums[:, side:, side:] - sums[:, :-side, side:] - sums[:, side:, :-side] + sums[:, :-side, :-side]) / side**2
