"""Locks of the image cache between processes of one node (`flock`): released by the kernel when a process dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_S = 0.05


@contextmanager
def locked(path: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """An exclusive lock; `waiting` is called while another process holds it. The file is removed with the lock."""
    while (held := Held.taken(path, fcntl.LOCK_EX, os.O_CREAT | os.O_WRONLY)) is None:
        waiting()
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: nobody can hold a lock on a file that has no name
        held.release()


class Held:
    """A lock on a file, for as long as this object lives."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def taken(cls, path: Path, kind: int, flags: int = os.O_RDONLY) -> Held | None:
        """The lock now, or None where another process is in the way. Raises FileNotFoundError."""
        held = cls(os.open(path, flags | os.O_CLOEXEC, 0o666))
        try:
            fcntl.flock(held.descriptor, kind | fcntl.LOCK_NB)
            is_named_so = os.path.samestat(os.fstat(held.descriptor), path.stat())
        except (BlockingIOError, FileNotFoundError):
            is_named_so = False
        if is_named_so:
            return held
        held.release()  # also where the file was removed or replaced between opening and locking
        return None

    @property
    def descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("the lock was released")
        return self._descriptor

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.release()
