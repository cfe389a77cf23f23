"""Test sets as folders of images named by class, without lists: ImageNet-A, -R and -C as they are distributed.

Images are read class by class in the order of the sorted names of folders and files. Free of torch and numpy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workers.data.folders import Listed
from workers.errors import DataUnreadable
from workers.files import RememberedHashes, sha256_of

IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
_SHOWN = 3


@dataclass(frozen=True)
class ClassFolders:
    """`parts`: folders that hold the class folders, relative to `folder`; "" is the folder itself, and an ImageNet-C
    has one part per corruption and severity. Labels count `names`; without names they count the sorted folders."""

    folder: Path
    parts: tuple[str, ...] = ("",)
    names: tuple[str, ...] | None = None

    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label. Raises DataUnreadable where there is no folder."""
        return self.names or self._folders_in(self.parts[0])

    def listed(self, part: str = "") -> Listed:
        """(path relative to the folder, label) of every image of a part. Raises DataUnreadable where its class folders
        are not those of the set."""
        names = self.classes()
        self._check(part, names)
        place = f"{part}/" if part else ""
        return tuple(
            (f"{place}{name}/{file}", label)
            for label, name in enumerate(names)
            for file in _images_in(self.folder / part / name)
        )

    def every(self) -> Iterator[tuple[str, int]]:
        """The images of all parts, part by part."""
        for part in self.parts:
            yield from self.listed(part)

    def content_hash(self, cache: Path | None) -> str:
        """64 hex of SHA-256 over the parts, their paths, labels and files; a file is read once (remembered in `cache`
        part by part). Raises DataUnreadable."""
        whole = hashlib.sha256(b"[class folders]\n")
        for part in self.parts:
            remembered = RememberedHashes(cache, str((self.folder / part).resolve())) if cache is not None else None
            whole.update(f"[{part}]\n".encode())
            for relative, label in self.listed(part):
                path = self.folder / relative
                try:
                    content = remembered.of(path) if remembered else sha256_of(path)
                except OSError as error:
                    raise DataUnreadable(f"image {path} cannot be read ({error.strerror}); copy it again") from None
                whole.update(f"{relative} {label} {content}\n".encode())
            if remembered is not None:
                remembered.save()
        return whole.hexdigest()

    def _check(self, part: str, names: tuple[str, ...]) -> None:
        found = self._folders_in(part)
        lacking, strange = sorted(set(names) - set(found)), sorted(set(found) - set(names))
        if lacking or strange:
            told = [f"{len(lacking)} class folders are missing: {_some(lacking)}"] if lacking else []
            told += [f"{len(strange)} folders are no class of it: {_some(strange)}"] if strange else []
            raise DataUnreadable(
                f"{self.folder / part} is not as it is distributed: {'; '.join(told)}. Unpack the archive again"
            )

    def _folders_in(self, part: str) -> tuple[str, ...]:
        place = self.folder / part
        try:
            found = sorted(one.name for one in place.iterdir() if one.is_dir() and not one.name.startswith("."))
        except OSError as error:
            raise DataUnreadable(f"{place} cannot be read ({error.strerror}); unpack the archive there") from None
        if not found:
            raise DataUnreadable(f"{place} holds no class folders; unpack the archive there")
        return tuple(found)


def _images_in(folder: Path) -> list[str]:
    files = sorted(one.name for one in folder.iterdir() if one.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise DataUnreadable(f"{folder} holds no image; unpack the archive again")
    return files


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" …" if len(names) > _SHOWN else "")
