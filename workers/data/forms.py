"""In which form images are kept, and how a decoded image gets it: by Pillow, as timm's and torchvision's transforms.

| form | pixels | read by |
| --- | --- | --- |
| squash | straight to size x size, aspect not kept | recipes with `resize: squash` |
| centre | short side to `short_side`, then the centre size x size: timm's evaluation transform | `resize: crop` |
| large | short side to at most `size`, never enlarged; of its own shape | random resized crops, contrastive views |
| short | short side to `size` exactly; of its own shape | `augment: shift_flip` |
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from storage.records import BackboneRef, canonical_json
from workers.data.decoding import as_rgb
from workers.errors import Unsupported

SQUASH, CENTRE, LARGE, SHORT = "squash", "centre", "large", "short"
STORE_SIDE_PX = 512
_SHIFT_ROOM = 8 / 7  # VPT's release: short side 256 for crops of 224
_FORMAT = 2  # 2: 16-bit greyscale is scaled, not clipped
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

Pixels = npt.NDArray[np.uint8]
"""One image, RGB [height, width, 3], or equally large ones [n, height, width, 3]."""


@dataclass(frozen=True)
class EntryName:
    """What decides an entry's bytes. `size` in pixels: the square's side, or the short side of the forms large and
    short; `short_side`: of the form centre before it is cropped."""

    data_hash: str
    split: str
    size: int
    interpolation: str
    form: str = SQUASH
    short_side: int = 0

    @property
    def key(self) -> str:
        fields = asdict(self)
        if self.form == SQUASH:  # entries made before there were other forms stay valid
            del fields["form"], fields["short_side"]
        return hashlib.sha256(canonical_json([_FORMAT, fields]).encode()).hexdigest()[:24]

    @property
    def is_square(self) -> bool:
        """Whether all images have one shape, size x size."""
        return self.form in (SQUASH, CENTRE)


def crop_names(data_hash: str, split: str, size: int, backbone: BackboneRef) -> dict[str, EntryName]:
    """The entries of `resize: crop` at that input size, by form. Raises Unsupported."""
    if not 0 < backbone.crop_pct <= 1:
        raise Unsupported(
            f"crop_pct of {backbone.name} is {backbone.crop_pct:g}; resize: crop knows above 0 to 1 (no borders): set "
            "resize: squash"
        )
    shown = math.floor(size / backbone.crop_pct)
    plain = EntryName(data_hash, split, size, backbone.interpolation, CENTRE, shown)
    return {
        CENTRE: plain,
        LARGE: EntryName(data_hash, split, max(STORE_SIDE_PX, shown), backbone.interpolation, LARGE),
        SHORT: EntryName(data_hash, split, round(size * _SHIFT_ROOM), backbone.interpolation, SHORT),
    }


def in_form(image: Image.Image, name: EntryName) -> Pixels:
    """The image as RGB in the entry's form. Shrinking is antialiased, as Pillow does it."""
    if name.interpolation not in _RESAMPLING:
        raise Unsupported(
            f"interpolation {name.interpolation!r} is not known; expected one of {', '.join(_RESAMPLING)}: correct the "
            "backbone's entry"
        )
    rgb, how = as_rgb(image), _RESAMPLING[name.interpolation]
    if name.form == SQUASH:
        return np.asarray(rgb.resize((name.size, name.size), how))
    rgb = rgb.resize(resized_shape(rgb.size, name), how)
    if name.form == CENTRE:
        left, top = (round((side - name.size) / 2) for side in rgb.size)
        rgb = rgb.crop((left, top, left + name.size, top + name.size))
    return np.asarray(rgb)


def resized_shape(given: tuple[int, int], name: EntryName) -> tuple[int, int]:
    """Width and height to which an image of that width and height is resized, aspect kept (torchvision's rounding)."""
    short, long = min(given), max(given)
    wanted = name.short_side if name.form == CENTRE else name.size
    if name.form == LARGE:
        wanted = min(wanted, short)
    other = int(wanted * long / short)
    return (wanted, other) if given[0] <= given[1] else (other, wanted)
