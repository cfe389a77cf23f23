"""Image files as RGB pixels, or an error that names the file and says what to do.

Colours are what timm's and torchvision's loaders give, Pillow's `convert("RGB")`: an alpha channel is dropped, not
composited; CMYK is converted without its profile; greyscale and palettes are spread over three channels; the
orientation tag is not applied. One thing differs: 16-bit greyscale is scaled to 8 bits, where Pillow clips everything
above 255 to white.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from workers.errors import DataMissing, DataUnreadable

_WIDE_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_WIDEST = 65535
_DAMAGE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError)
_IN_THE_WAY = (PermissionError, IsADirectoryError, NotADirectoryError)


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """The image, its header read; damage met inside the block, while it is decoded, is told in the same way.

    Raises DataMissing, DataUnreadable, and OSError where the disk and not the image is at fault.
    """
    try:
        with warnings.catch_warnings():  # Pillow warns at 89 megapixels, and refuses twice that
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            yield image
    except FileNotFoundError:
        raise DataMissing(f"image {path} is not there; copy it again or take it out of the list") from None
    except Image.DecompressionBombError as bomb:
        raise DataUnreadable(f"image {path} is too large to be decoded ({bomb}); make it smaller first") from None
    except _IN_THE_WAY as error:
        raise DataUnreadable(
            f"image {path} cannot be read ({error.strerror}); correct the path or its rights"
        ) from None
    except _DAMAGE as damage:
        if isinstance(damage, OSError) and damage.errno is not None:
            raise
        raise DataUnreadable(f"image {path} cannot be decoded ({damage}); copy it again") from None


def as_rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB. Raises ValueError where its numbers have no known range."""
    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range; save it as 8-bit PNG")
    if image.mode not in _WIDE_MODES:
        return image.convert("RGB")
    levels = np.asarray(image).astype(np.int64)
    if levels.min() < 0 or levels.max() > _WIDEST:
        raise ValueError(f"its levels go from {levels.min()} to {levels.max()}; save it as 8-bit PNG")
    return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB")
