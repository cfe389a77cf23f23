"""A converted folder on disk: files whole, lists last, so that a half-converted set is never found.

The card `conversion.json` is written first, with `"state": "unfinished"`, and names what is being written by its
identity (lists, class names, sizes of the files that are copied): the same conversion goes on where it was, another one
is refused. `test.txt`, by which data sets are found, is the last file to appear.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.records import canonical_json
from storage.records.whole import write_whole
from workers.data.convert.source import Content
from workers.errors import ConversionFailed

CARD = "conversion.json"
VERSION = 1
_UNFINISHED, _DONE = "unfinished", "done"
_DRAFTS = ".converting"
_LAST = "test.txt"
_FULL = (errno.ENOSPC, errno.EDQUOT)

Told = Callable[[int, int], None]
"""Told (files done, files in all)."""


@dataclass(frozen=True, kw_only=True)
class Writing:
    """What is to lie in `folder`: files by their path there, text files (lists, class names) by name, and the card.

    `link`: files of the source are hard-linked instead of copied; what is no file there is written either way.
    """

    folder: Path
    files: Mapping[str, Content]
    texts: Mapping[str, str]
    card: Mapping[str, object]
    link: bool

    @property
    def identity(self) -> str:
        """16 hex that name the outcome."""
        sizes = {name: content.stat().st_size for name, content in self.files.items() if isinstance(content, Path)}
        named = canonical_json({"version": VERSION, "texts": dict(self.texts), "sizes_bytes": sizes})
        return hashlib.sha256(named.encode()).hexdigest()[:16]


def write(writing: Writing, told: Told) -> int:
    """Writes what is not there yet; returns how many files that were (0: it was done before).

    Raises ConversionFailed: something else lies there, another process converts into it, the disk is full.
    """
    folder = writing.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            return _written(writing, told)
    except OSError as error:
        raise _failed(error, folder) from error


def _written(writing: Writing, told: Told) -> int:
    folder, identity = writing.folder, writing.identity
    state = _state(folder, identity)
    if state is None:
        write_whole(folder / CARD, _card(writing, identity, _UNFINISHED))
    count = 0
    drafts = folder / _DRAFTS
    shutil.rmtree(drafts, ignore_errors=True)  # what a killed process left; we hold the lock
    for done, (name, content) in enumerate(writing.files.items(), start=1):
        place = folder / name
        if state == _DONE and _has_size(place, content):
            continue
        count += _put(place, content, drafts / str(done), writing.link)
        told(done, len(writing.files))
    shutil.rmtree(drafts, ignore_errors=True)
    if count:
        os.sync()  # images before the lists that promise them, also through a power cut
    for name, text in sorted(writing.texts.items(), key=lambda item: item[0] == _LAST):
        if name == _LAST and state != _DONE:
            write_whole(folder / CARD, _card(writing, identity, _DONE))
        if _text_of(folder / name) != text:
            write_whole(folder / name, text)
            count += 1
    return count


def _put(place: Path, content: Content, draft: Path, link: bool) -> int:
    """1 where it was written, 0 where a file of its size lies there: only whole files ever get a name."""
    if isinstance(content, Path):
        if _has_size(place, content):
            return 0
        draft.parent.mkdir(exist_ok=True)
        if link:
            os.link(content.resolve() if content.is_symlink() else content, draft)
        else:
            shutil.copyfile(content, draft)
    else:
        image = content()
        if place.is_file() and place.stat().st_size == len(image):
            return 0
        draft.parent.mkdir(exist_ok=True)
        draft.write_bytes(image)
    place.parent.mkdir(parents=True, exist_ok=True)
    draft.replace(place)
    return 1


def _has_size(place: Path, content: Content) -> bool:
    try:
        size = place.stat().st_size
    except FileNotFoundError:
        return False
    return size == content.stat().st_size if isinstance(content, Path) else size > 0


def _state(folder: Path, identity: str) -> str | None:
    """What an earlier call left of this conversion. Raises ConversionFailed where something else lies there."""
    text = _text_of(folder / CARD)
    if text is None:
        others = sorted(path.name for path in folder.iterdir() if path.name != _DRAFTS and not _is_draft(path))
        if others:
            raise ConversionFailed(
                f"{folder} is not empty and no conversion ({others[0]} lies there); give another name, or remove it"
            )
        return None
    try:
        card = json.loads(text)
        found, state, source = card["identity"], str(card["state"]), card["source"]
    except (ValueError, TypeError, KeyError):
        raise ConversionFailed(f"{folder / CARD} is damaged; remove {folder} and convert again") from None
    if found != identity:
        raise ConversionFailed(
            f"{folder} holds another conversion ({state}, from {source}): other images, labels, splits or seed; give "
            "another name, or remove it"
        )
    return state


def _is_draft(path: Path) -> bool:
    return path.name.startswith(f".{CARD}.")  # of a process that was killed while it wrote the first card


def _card(writing: Writing, identity: str, state: str) -> str:
    return json.dumps({"version": VERSION, "state": state, "identity": identity, **writing.card}, indent=1) + "\n"


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder itself is the lock; the system frees it when the process ends. Raises ConversionFailed."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConversionFailed(f"another process converts into {folder}; wait for it") from None
    finally:
        os.close(handle)


def _failed(error: OSError, folder: Path) -> ConversionFailed:
    again = "what is written stays; the same command goes on from there"
    if error.errno in _FULL:
        return ConversionFailed(f"the disk is full: {folder} is not complete. Free some space; {again}")
    if error.errno == errno.EXDEV:
        return ConversionFailed(f"--link: {folder} and the source lie on different file systems; use --copy")
    return ConversionFailed(f"{error.filename or folder}: {error.strerror or error}; {folder} is not complete, {again}")
