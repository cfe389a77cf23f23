"""Files of the home: JSON written whole, and the results that workers spooled."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

from storage.records import Lease, Result
from storage.records.spool import parse_spool
from storage.records.whole import write_whole
from storage.store import StoreError

BROKEN = "broken"
"""Sub-folder of the spool for files that cannot be read; beside each lies a note that says why."""


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON; the file appears whole or not at all. Raises StoreError (disk full, no permission …)."""
    text = json.dumps(value, indent=2) + "\n"
    try:
        write_whole(path, text)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}. {advice(error)}.") from error


def read_spool(home: Path) -> Iterator[tuple[Path, Lease, Result]]:
    """Each whole spooled result, with the file's path and the lease of its attempt, by file name.

    Hand them to `Store.finish`, then remove the file. A file that cannot be parsed is moved to `spool/broken` with a
    note beside it; files that are still being written are not looked at. Raises StoreError when the folder cannot be
    read or a file cannot be moved.
    """
    spool = home / "spool"
    try:
        for path in sorted(spool.glob("[!.]*.json")):
            try:
                lease, result = parse_spool(path)
            except FileNotFoundError:
                continue  # another driver was quicker
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                _set_aside(path, f"{type(error).__name__}: {error}")
                continue
            yield path, lease, result
    except OSError as error:
        raise StoreError(f"cannot read the spool {spool}: {error.strerror or error}. {advice(error)}.") from error


def _set_aside(path: Path, problem: str) -> None:
    folder = path.parent / BROKEN
    folder.mkdir(exist_ok=True)
    note = f"{path.name} is not a spooled result that this version of Sweepboard can read ({problem}).\n"
    (folder / f"{path.name}.note").write_text(note, encoding="utf-8")
    path.replace(folder / path.name)


def advice(error: OSError) -> str:
    """What to do about a file that cannot be written or read."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "Free some space and run the same command again: nothing was half written"
    return "Make the folder writable, or point SWEEPBOARD_HOME elsewhere"
