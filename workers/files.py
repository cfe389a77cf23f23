"""Content hashes that are computed once per content."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from storage.records.whole import written_whole


def sha256_of(path: Path) -> str:
    """64 hex of SHA-256 over the file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class RememberedHashes:
    """SHA-256 of files, remembered in the cache by path, size and time of change: a file is read once."""

    def __init__(self, cache: Path, group: str) -> None:
        """`group` names the set of files that are remembered together, e.g. one data set's folder."""
        name = hashlib.sha256(group.encode()).hexdigest()[:16]
        self._path = cache / "hashes" / f"{name}.json"
        self._known: dict[str, list[int | str]] = {}
        self._is_changed = False
        if self._path.exists():
            try:
                self._known = json.loads(self._path.read_text())
            except ValueError:
                self._known = {}  # a damaged memory is only a slower start

    def of(self, path: Path) -> str:
        """64 hex of SHA-256 over the file. Raises FileNotFoundError."""
        state = path.stat()
        known = self._known.get(str(path))
        if known is not None and known[:2] == [state.st_size, state.st_mtime_ns]:
            return str(known[2])
        content = sha256_of(path)
        self._known[str(path)] = [state.st_size, state.st_mtime_ns, content]
        self._is_changed = True
        return content

    def save(self) -> None:
        """Keep what was learned; the last of several writers wins, and loses nothing but time."""
        if self._is_changed:
            with written_whole(self._path) as temporary:
                temporary.write_text(json.dumps(self._known))
