"""How much the image cache may hold, and what goes when more is to come.

Least recently opened entries go first; what a living process has open stays. Whoever makes room holds one lock, and
says how much it is about to write, so that two builders never count on the same bytes.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

from workers.data.cache_files import CARD
from workers.data.cache_locks import Held, locked
from workers.errors import DiskFull

PART, LOCK = ".part", ".lock"
_GONE = ".gone"
_RESERVED = "reserved"
_SPARE_BYTES = 1 << 16  # labels, shapes and the card
_log = logging.getLogger(__name__)


def reserve(part: Path, need_bytes: int, bound_bytes: int | None) -> bool:
    """Make room for an entry and make its folder `part`; False where the bound leaves none.

    `bound_bytes` None: half of what the cache and the free disk are together. The caller holds the entry's lock.
    Raises DiskFull where the bound would allow what the disk cannot take.
    """
    images = part.parent
    need_bytes += _SPARE_BYTES
    with locked(images.with_suffix(LOCK), lambda: None):
        _clear_leftovers(images)
        used = {folder: _bytes_of(folder) for folder in images.iterdir() if folder.is_dir() and folder != part}
        free = shutil.disk_usage(images).free - sum(_still_to_come(folder) for folder in used)
        bound = (sum(used.values()) + free) // 2 if bound_bytes is None else bound_bytes
        if need_bytes > bound:
            return False
        excess = max(sum(used.values()) + need_bytes - bound, need_bytes - free)
        for folder in _oldest_first(used):
            if excess <= 0:
                break
            if _evicted(folder):
                excess -= used.pop(folder)
        if sum(used.values()) + need_bytes > bound:
            return False
        if need_bytes > shutil.disk_usage(images).free - sum(_still_to_come(folder) for folder in used):
            raise disk_full(images, need_bytes)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        (part / _RESERVED).write_text(str(need_bytes))
    return True


def publish(part: Path, folder: Path) -> None:
    """The entry in `part` is whole: it gets its name, and from now on counts by its files."""
    with locked(part.parent.with_suffix(LOCK), lambda: None):  # nobody is counting
        (part / _RESERVED).unlink()
        part.rename(folder)


def disk_full(images: Path, need_bytes: int) -> DiskFull:
    """The error that says what was to be written where, how much is there, and what to do."""
    free = shutil.disk_usage(images).free
    return DiskFull(
        f"the disk is full: an image cache entry of {_gib(need_bytes)} does not fit under {images}, where "
        f"{_gib(free)} are free. Free space, let SWEEPBOARD_CACHE name a folder on a larger disk, or set "
        f"SWEEPBOARD_CACHE_GIB to what the cache may take: images that do not fit are then decoded on the way"
    )


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _clear_leftovers(images: Path) -> None:
    """What dead builders left. A living one holds its lock; the lock of a dead one can be taken."""
    for path in images.glob(f"*{_GONE}"):
        shutil.rmtree(path, ignore_errors=True)
    for key in sorted({path.stem for path in images.iterdir() if path.suffix in (PART, LOCK)}):
        lock = images / f"{key}{LOCK}"
        held = Held.taken(lock, fcntl.LOCK_EX, os.O_CREAT | os.O_WRONLY)
        if held is not None:
            shutil.rmtree(images / f"{key}{PART}", ignore_errors=True)
            lock.unlink(missing_ok=True)
            held.release()


def _oldest_first(folders: dict[Path, int]) -> list[Path]:
    """Whole entries by the time they were last opened; those without a card are of no use and come first."""

    def opened(folder: Path) -> float:
        try:
            return (folder / CARD).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    return sorted((folder for folder in folders if not folder.suffix), key=opened)


def _evicted(folder: Path) -> bool:
    """Whether the entry is gone now; not where a process has it open."""
    try:
        held = Held.taken(folder / CARD, fcntl.LOCK_EX, os.O_RDWR)
        if held is None:
            return False
    except FileNotFoundError:
        held = None
    gone = folder.with_suffix(_GONE)
    with suppress(FileNotFoundError):  # removed by hand, or as damaged
        folder.rename(gone)  # its name is free at once, however long deleting takes
    shutil.rmtree(gone, ignore_errors=True)
    _log.info("image cache entry %s was evicted", folder.name)
    return True


def _bytes_of(folder: Path) -> int:
    return _written(folder) + _still_to_come(folder)


def _written(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir())
    except FileNotFoundError:  # its builder has given up, or somebody deletes it
        return 0


def _still_to_come(folder: Path) -> int:
    """Bytes that a builder at work has reserved and not yet written."""
    try:
        reserved = int((folder / _RESERVED).read_text() or 0)
    except FileNotFoundError:
        return 0
    return max(0, reserved - _written(folder))
