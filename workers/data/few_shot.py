"""Few-shot subsets: `fgvc/cub200@5shot` has five training images of each class. Free of torch and numpy.

The training list of the base set is cut to `shots` images per class; val and test stay as they are. The final job
trains on those images alone, not on val as well: val serves searches. `@5shot` is draw 0, `@5shot.1` draw 1 and so on.

Within a class, images are ordered by SHA-256 of draw and path, and the first ones are taken: the same on every
machine and in every version, whatever the order of the list; the images of a draw at 1 shot are among those at 2.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from storage.records import canonical_json
from workers.errors import DataUnreadable

TRAINED = frozenset({"train800", "train800val200"})
"""The splits that a few-shot subset has of its own: the same images in both."""

_SUFFIX = re.compile(r"(?P<base>.+)@(?P<shots>[1-9]\d*)shot(\.(?P<draw>\d+))?")
_SHOWN = 10


@dataclass(frozen=True)
class FewShot:
    """A subset, or a pattern of the spec for several of them."""

    base: str
    shots: int
    draw: int

    @property
    def suffix(self) -> str:
        """As it stands behind the base's name: `@5shot`, `@5shot.1`."""
        return f"@{self.shots}shot" + (f".{self.draw}" if self.draw else "")

    @property
    def name(self) -> str:
        return f"{self.base}{self.suffix}"

    def data_hash(self, base_hash: str) -> str:
        """64 hex that name the subset of a set of that content."""
        named = {"few_shot": {"base": base_hash, "draw": self.draw, "revision": 1, "shots": self.shots}}
        return hashlib.sha256(canonical_json(named).encode()).hexdigest()

    def chosen(self, listed: Sequence[tuple[str, int]], classes: int) -> tuple[int, ...]:
        """Positions of the images in the training list that are drawn, in the order of the list; `listed`: (path,
        label). Raises DataUnreadable where a class has too few, and names the classes."""
        by_class: dict[int, list[tuple[str, int]]] = {label: [] for label in range(classes)}
        for position, (relative, label) in enumerate(listed):
            rank = hashlib.sha256(f"{self.draw}\n{relative}".encode()).hexdigest()
            by_class.setdefault(label, []).append((rank, position))
        poor = {label: len(found) for label, found in sorted(by_class.items()) if len(found) < self.shots}
        if poor:
            some = ", ".join(f"class {label} has {count}" for label, count in list(poor.items())[:_SHOWN])
            raise DataUnreadable(
                f"{self.name}: {len(poor)} of {len(by_class)} classes have fewer than {self.shots} training images: "
                f"{some}{' …' if len(poor) > _SHOWN else ''}. Ask for fewer shots"
            )
        return tuple(sorted(position for found in by_class.values() for _, position in sorted(found)[: self.shots]))


def few_shot(name: str) -> FewShot | None:
    """The subset that a name means; None for every other name.

    >>> few_shot("fgvc/cub200@5shot.1")
    FewShot(base='fgvc/cub200', shots=5, draw=1)
    """
    found = _SUFFIX.fullmatch(name)
    return None if found is None else FewShot(found["base"], int(found["shots"]), int(found["draw"] or 0))
