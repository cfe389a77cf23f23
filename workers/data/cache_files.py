"""What an entry of the image cache is on disk: pixels, labels and a card with their checksums.

Square forms are one `images.npy`; the others are packed: `images.bin`, one image after another, and `shapes.npy`.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import zlib
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from workers.data.cache_locks import Held
from workers.data.forms import EntryName
from workers.data.stocks import ImageSet, ImageSource, PackedSet, Progressed

CARD = "card.json"
_log = logging.getLogger(__name__)
_CHECK_BYTES = 1 << 24
_DENSE, _PACKED, _SHAPES, _LABELS = "images.npy", "images.bin", "shapes.npy", "labels.npy"

Entry = ImageSet | PackedSet


def write_entry(part: Path, name: EntryName, source: ImageSource, progressed: Progressed) -> None:
    """Fill an empty folder. Plain writes: a full disk is an error here, and not a SIGBUS later."""
    labels = source.labels
    shapes = np.zeros((len(labels), 2), dtype=np.int64)
    checksum = 0
    with (part / (_DENSE if name.is_square else _PACKED)).open("wb") as file:
        if name.is_square:
            _write_header(file, (len(labels), name.size, name.size, 3))
        for index in range(len(labels)):
            image = np.ascontiguousarray(source.decoded(index))
            shapes[index] = image.shape[:2]
            pixels = image.tobytes()
            checksum = zlib.crc32(pixels, checksum)
            file.write(pixels)
            progressed(index + 1, len(labels))
        file.flush()
        os.fsync(file.fileno())
    np.save(part / _LABELS, labels)
    np.save(part / _SHAPES, shapes)
    card = {"name": asdict(name), "crc32": checksum, "labels_crc32": _crc32(labels), "shapes_crc32": _crc32(shapes)}
    (part / CARD).write_text(json.dumps(card))


def read_entry(folder: Path) -> Entry | None:
    """The entry, or None when it is absent, being evicted, or its bytes are not those that were written.

    Its card is locked for as long as the result lives, so that no process evicts it, and its time of change is now.
    """
    try:
        held = Held.taken(folder / CARD, fcntl.LOCK_SH)
        if held is None:
            return None
        found, card = _mapped(folder, held), json.loads((folder / CARD).read_text())
    except FileNotFoundError:
        return None
    except (ValueError, EOFError) as damage:
        _log.warning("image cache entry %s cannot be read (%s); it is built again", folder, damage)
        return None
    if not _is_as_written(found, card):
        _log.warning("image cache entry %s fails its checksum; it is built again", folder)
        return None
    with suppress(OSError):  # a cache that cannot be written is still read
        os.utime(folder / CARD)
    return found


def _mapped(folder: Path, held: Held) -> Entry:
    """Mode "c": torch wants writable memory; the file stays as it is."""
    labels = np.load(folder / _LABELS)
    if (folder / _DENSE).exists():
        return ImageSet(np.load(folder / _DENSE, mmap_mode="c"), labels, held)
    shapes = np.load(folder / _SHAPES)
    flat = np.memmap(folder / _PACKED, dtype=np.uint8, mode="c")
    if len(flat) != 3 * int(shapes.prod(axis=1).sum()):
        raise ValueError(f"{len(flat)} bytes of pixels do not fit the shapes")
    return PackedSet(flat, shapes, labels, held)


def _is_as_written(entry: Entry, card: dict[str, Any]) -> bool:
    if isinstance(entry, PackedSet) and _crc32(entry.shapes) != card["shapes_crc32"]:
        return False
    pixels = entry.images if isinstance(entry, ImageSet) else entry.flat
    return _crc32(entry.labels) == card["labels_crc32"] and _crc32(pixels) == card["crc32"]


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _crc32(array: npt.NDArray[Any]) -> int:
    flat = array.reshape(-1)
    checksum, step = 0, max(1, _CHECK_BYTES // array.itemsize)
    for start in range(0, flat.size, step):
        checksum = zlib.crc32(flat[start : start + step].data, checksum)
    return checksum
