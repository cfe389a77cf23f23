"""Was an image ever a JPEG? Its 8×8 grid stays in the pixels, also when they were saved again without loss.

JPEG rounds the DCT coefficients of each 8×8 block, the high frequencies mostly to zero. In blocks on that grid far more
of them are near zero than in blocks laid elsewhere on the same image; in an image that never was one the two are alike.
Of an image that was resized afterwards nothing can be said.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_SIDE = 8
_NEAR_ZERO = 0.75  # grey levels; what rounding pixels to whole numbers leaves of a coefficient that was zero
_SHIFTS = ((4, 4), (0, 4), (4, 0), (3, 5), (5, 2))
LEAST_SIDE = 2 * _SIDE  # a smaller image has no second block


def grid_excess(grey: npt.NDArray[np.float32]) -> float:
    """How much larger the share of near-zero high frequencies is on the JPEG grid than off it, in [-1, 1].

    `grey` [height, width], at least 16 × 16, levels 0 to 255.
    """
    on_grid = _near_zero_share(grey, 0, 0)
    return on_grid - float(np.mean([_near_zero_share(grey, *shift) for shift in _SHIFTS]))


def _near_zero_share(grey: npt.NDArray[np.float32], top: int, left: int) -> float:
    rows, columns = (grey.shape[0] - top) // _SIDE, (grey.shape[1] - left) // _SIDE
    part = grey[top : top + _SIDE * rows, left : left + _SIDE * columns]
    blocks = part.reshape(rows, _SIDE, columns, _SIDE).transpose(0, 2, 1, 3)
    coefficients = _DCT @ blocks @ _DCT.T
    return float((np.abs(coefficients[..., _HIGH]) < _NEAR_ZERO).mean())


def _dct() -> npt.NDArray[np.float32]:
    """The orthonormal DCT-II matrix [8, 8]."""
    number = np.arange(_SIDE)
    matrix = np.sqrt(2 / _SIDE) * np.cos(np.pi * (2 * number[None] + 1) * number[:, None] / (2 * _SIDE))
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


_DCT = _dct()
_HIGH = np.add.outer(np.arange(_SIDE), np.arange(_SIDE)) >= 4
