"""Images decoded once per node: memory-mapped uint8 files named by content, shared by all jobs and processes.

One process builds an entry while others wait for its lock; an entry appears whole (a folder is renamed into place)
and its checksum is tested when a process first opens it. The cache is bounded: least recently opened entries are
evicted before a build, never one that is open. Entries can be deleted at any time.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

from workers.data.cache_files import Entry, read_entry, write_entry
from workers.data.cache_locks import locked
from workers.data.cache_room import LOCK, PART, disk_full, publish, reserve
from workers.data.forms import EntryName
from workers.data.stocks import ImageSource, Progressed

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def entry_folder(cache: Path, name: EntryName) -> Path:
    """Where the entry lies, if it is there."""
    return cache / "images" / name.key


def open_entry(
    cache: Path,
    name: EntryName,
    make_source: Callable[[], ImageSource],
    progressed: Progressed,
    bound_bytes: int | None = None,
) -> Entry | None:
    """The entry, built now if it is absent or damaged; None where it does not fit beside what is open.

    `bound_bytes`: what all entries may take together; None: half of the disk that is free or the cache's. Raises what
    the source raises, DiskFull, and OSError.
    """
    folder = entry_folder(cache, name)
    found = read_entry(folder)
    if found is not None:
        return found
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_suffix(LOCK), lambda: progressed(0, 0)):
        found = read_entry(folder)  # another process may have built it while this one waited
        if found is not None:
            return found
        shutil.rmtree(folder, ignore_errors=True)  # damaged
        source, part = make_source(), folder.with_suffix(PART)
        if not reserve(part, source.nbytes, bound_bytes):
            return None
        _build(folder, part, (name, source), progressed)
        found = read_entry(folder)
    if found is None:
        raise OSError(f"image cache entry {folder} was damaged while it was written; check the disk under {cache}")
    return found


def _build(folder: Path, part: Path, what: tuple[EntryName, ImageSource], progressed: Progressed) -> None:
    """Write the entry beside its place and rename it there; whatever goes wrong, nothing half-written stays."""
    name, source = what
    try:
        write_entry(part, name, source, progressed)
        publish(part, folder)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            raise disk_full(folder.parent, source.nbytes) from error
        raise
