"""Arrays of pixels as PNG: lossless, and the same bytes for the same pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    """uint8 pixels of shape (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)).save(file, "PNG")
    return file.getvalue()
