"""Images with their masks, decoded once per node. Images lie in the image cache like any others; masks beside them.

Images are resized as everywhere (the backbone's interpolation), masks to the nearest pixel, both straight to a square.
A pixel is foreground where it is above 127/255 of white, or 1 in a mask of zeros and ones. A mask without foreground is
legal; one whose values are neither (class numbers, say) is refused.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from storage.records import canonical_json
from storage.records.whole import written_whole
from workers.data.cache import open_entry
from workers.data.check_findings import some
from workers.data.decoding import opened
from workers.data.forms import EntryName, Pixels, in_form
from workers.data.stocks import ImageSet, Indices, Progressed
from workers.errors import DataChanged, DataUnreadable, DiskFull, WorkerError
from workers.segmentation.lists import masks_hash, read_pairs

_log = logging.getLogger(__name__)
_FORMAT = 1
_THRESHOLD = 127 / 255
_COLOURED = ("RGB", "RGBA", "LA", "CMYK", "YCbCr")
_MODES = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", *_COLOURED)
_WIDEST = 65535


@dataclass(frozen=True)
class MaskedImages(ImageSet):
    """Images as in an ImageSet, whose `labels` are zeros, and `masks` uint8 [n, size, size] of 0 and 1."""

    masks: npt.NDArray[np.uint8] = field(kw_only=True)

    def taken(self, chosen: Indices) -> MaskedImages:
        return MaskedImages(self.images[chosen], self.labels[chosen], masks=self.masks[chosen])


class MaskedFolder:
    """One list of a folder, as a source of images and of masks."""

    def __init__(self, folder: Path, name: EntryName, cache: Path) -> None:
        """Raises DataChanged when the folder's content is not what the entry is named by."""
        found = masks_hash(folder, cache)
        if found != name.data_hash:
            raise DataChanged(
                f"data set {folder.name!r} in {folder} has content {found[:16]}, the job expects "
                f"{name.data_hash[:16]}: lists, images or masks changed since the plan; plan again or restore the data"
            )
        self.folder, self.name = folder, name
        self.pairs = read_pairs(folder, name.split)

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Zeros [n]: masks have no classes."""
        return np.zeros(len(self.pairs), dtype=np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of all images; they are square."""
        return len(self.pairs) * 3 * self.name.size**2

    def decoded(self, index: int) -> Pixels:
        """One image [size, size, 3]. Raises DataMissing, DataUnreadable."""
        with opened(self.folder / self.pairs[index][0]) as image:
            return in_form(image, self.name)

    def few(self, count: int) -> MaskedImages:
        """The first `count`, without the rest. Raises DataUnreadable."""
        images = np.stack([self.decoded(index) for index in range(min(count, len(self.pairs)))])
        return MaskedImages(images, self.labels[:count], masks=self.masks(count))

    def masks(self, count: int | None = None) -> npt.NDArray[np.uint8]:
        """Masks of the first `count` images (None: all). Raises DataUnreadable naming every mask that does not fit."""
        pairs = self.pairs[:count]
        problems, found = unfit(self.folder, pairs), []
        for _, mask in pairs if not problems else ():
            try:
                found.append(_mask(self.folder / mask, self.name.size))
            except DataUnreadable as error:
                problems.append(str(error))
        if problems:
            raise DataUnreadable(
                f"data set {self.folder.name!r}: {len(problems)} masks do not fit: {some(problems)}; write them again, "
                "0 outside and 1 or white inside, as large as their images"
            )
        return np.stack(found)


def open_masked(source: MaskedFolder, cache: Path, bound_bytes: int | None, progressed: Progressed) -> MaskedImages:
    """A split from the cache, decoded now if it is not there or damaged. Raises as `open_entry`, DataUnreadable, and
    DiskFull where the cache has no room for it."""
    place = _place(cache, source.name)
    masks = _read(place)
    if masks is None:  # before the images: a mask that does not fit is told first
        _write(place, source.masks())
        masks = _read(place)
    if masks is None:
        raise OSError(f"masks {place} were damaged while they were written; check the disk under {cache}")
    found = open_entry(cache, source.name, lambda: source, progressed, bound_bytes)
    if not isinstance(found, ImageSet):
        raise DiskFull(
            f"{source.name.split} of data set {source.folder.name!r} takes {source.nbytes / 2**30:.2g} GiB, which the "
            f"image cache under {cache} has no room for beside what is open; raise SWEEPBOARD_CACHE_GIB or free space"
        )
    return MaskedImages(found.images, found.labels, found.held, masks=masks)


def unfit(folder: Path, pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What is wrong with each mask that cannot be used; headers alone are read."""
    found = []
    for image, mask in pairs:
        try:
            with opened(folder / image) as one, opened(folder / mask) as other:
                if other.size != one.size:
                    sizes = [f"{width}x{height}" for width, height in (other.size, one.size)]
                    found.append(f"{mask} has {sizes[0]} pixels and {image} has {sizes[1]}")
                elif other.mode not in _MODES:
                    found.append(f"{mask} has mode {other.mode!r}; expected one of {', '.join(_MODES)}")
        except WorkerError as error:
            found.append(str(error))
    return found


def _mask(path: Path, size: int) -> npt.NDArray[np.uint8]:
    """Raises DataUnreadable where the values say neither 0 and 1 nor black and white."""
    with opened(path) as image:
        values = np.asarray(image.convert("L") if image.mode in _COLOURED else image).astype(np.int64)
        white, highest = (_WIDEST if image.mode.startswith("I") else 255), int(values.max(initial=0))
    threshold = 0 if highest <= 1 else _THRESHOLD * white
    if highest and highest <= threshold:
        raise DataUnreadable(f"{path.name} has values up to {highest}, neither 0 and 1 nor 0 and {white}")
    inside = Image.fromarray((values > threshold).astype(np.uint8))
    return np.asarray(inside.resize((size, size), Image.Resampling.NEAREST))


def _place(cache: Path, name: EntryName) -> Path:
    inputs = {key: value for key, value in asdict(name).items() if key in ("data_hash", "split", "size")}
    key = hashlib.sha256(canonical_json([_FORMAT, inputs]).encode()).hexdigest()[:24]
    return cache / "masks" / f"{key}.npy"


def _write(place: Path, masks: npt.NDArray[np.uint8]) -> None:
    """Two processes may write at once: each file appears whole, and both hold the same."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(place) as temporary, temporary.open("wb") as file:
        np.save(file, masks)
    with written_whole(place.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps({"crc32": zlib.crc32(masks.tobytes())}))


def _read(place: Path) -> npt.NDArray[np.uint8] | None:
    try:
        expected = json.loads(place.with_suffix(".json").read_text())["crc32"]
        masks: npt.NDArray[np.uint8] = np.load(place, mmap_mode="c")
    except FileNotFoundError:
        return None
    except (ValueError, EOFError, KeyError) as damage:
        _log.warning("cached masks %s cannot be read (%s); they are made again", place, damage)
        return None
    if zlib.crc32(np.ascontiguousarray(masks).data) != expected:
        _log.warning("cached masks %s fail their checksum; they are made again", place)
        return None
    return masks
