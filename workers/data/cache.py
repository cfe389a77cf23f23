"""Images decoded once per node: memory-mapped uint8 files named by content, shared by all jobs and processes.

One process builds an entry while others wait for its lock; an entry appears whole (a folder is renamed into place)
and its checksum is tested when a process first opens it. Entries can be deleted at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from storage.records import canonical_json

_log = logging.getLogger(__name__)
_FORMAT = 2  # 2: 16-bit greyscale is scaled, not clipped
_POLL_S = 0.05
_CHECK_BYTES = 1 << 24

Progressed = Callable[[int, int], None]
"""Told (images done, images in all), also while waiting for another process."""


@dataclass(frozen=True)
class ImageSet:
    """Decoded images uint8 [n, size, size, 3] (RGB, memory-mapped, never written to disk) and labels int64 [n]."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True)
class EntryName:
    """What decides an entry's bytes."""

    data_hash: str
    split: str
    size: int  # pixels
    interpolation: str

    @property
    def key(self) -> str:
        return hashlib.sha256(canonical_json([_FORMAT, asdict(self)]).encode()).hexdigest()[:24]


class ImageSource(Protocol):
    """Where images come from when an entry must be built."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Labels [n], in the order of the images."""

    def images(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Images [size, size, 3] in order, decoded one by one."""


def open_entry(
    cache: Path, name: EntryName, make_source: Callable[[], ImageSource], progressed: Progressed
) -> ImageSet:
    """The entry, built now if it is absent or damaged. Raises what the source raises, and OSError (disk full)."""
    folder = cache / "images" / name.key
    found = _read(folder)
    if found is not None:
        return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_suffix(".lock"), lambda: progressed(0, 0)):
        found = _read(folder)  # another process may have built it while this one waited
        if found is None:
            _build(folder, name, make_source(), progressed)
            found = _read(folder)
    if found is None:
        raise OSError(f"image cache entry {folder} was damaged while it was written; check the disk under {cache}")
    return found


def _build(folder: Path, name: EntryName, source: ImageSource, progressed: Progressed) -> None:
    """Write the entry beside its place and rename it there. Plain writes: a full disk is an error, not a SIGBUS."""
    part = folder.with_suffix(".part")
    for leftover in (part, folder):  # of a killed builder, or damaged; this process holds the lock
        shutil.rmtree(leftover, ignore_errors=True)
    part.mkdir()
    labels = source.labels
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(labels), name.size, name.size, 3)}
    checksum = 0
    try:
        with (part / "images.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for done, image in enumerate(source.images(), start=1):
                pixels = np.ascontiguousarray(image).tobytes()
                checksum = zlib.crc32(pixels, checksum)
                file.write(pixels)
                progressed(done, len(labels))
            file.flush()
            os.fsync(file.fileno())
        np.save(part / "labels.npy", labels)
        card = {"name": asdict(name), "crc32": checksum, "labels_crc32": zlib.crc32(labels.tobytes())}
        (part / "card.json").write_text(json.dumps(card))
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _read(folder: Path) -> ImageSet | None:
    """The entry, or None when it is absent or its bytes are not those that were written."""
    try:
        card = json.loads((folder / "card.json").read_text())
        images = np.load(folder / "images.npy", mmap_mode="c")  # "c": torch wants writable memory; the file stays
        labels = np.load(folder / "labels.npy")
    except FileNotFoundError:
        return None
    except (ValueError, EOFError) as damage:
        _log.warning("image cache entry %s cannot be read (%s); it is built again", folder, damage)
        return None
    if _crc32(images) != card["crc32"] or zlib.crc32(labels.tobytes()) != card["labels_crc32"]:
        _log.warning("image cache entry %s fails its checksum; it is built again", folder)
        return None
    return ImageSet(images, labels)


def _crc32(images: npt.NDArray[np.uint8]) -> int:
    flat = images.reshape(-1)
    checksum = 0
    for start in range(0, flat.size, _CHECK_BYTES):
        checksum = zlib.crc32(flat[start : start + _CHECK_BYTES].data, checksum)
    return checksum


@contextmanager
def _locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """An exclusive lock between processes; `waiting` is called while another one holds it."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting()
                time.sleep(_POLL_S)
        yield  # closing the file releases the lock
