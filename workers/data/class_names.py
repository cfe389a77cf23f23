"""What classes are called, and which class of one data set is which of another. Free of torch and numpy.

Shipped lists lie in `class_names/`: one name a line, in the order of the labels. ImageNet's are WordNet ids, as its
folders are called, and as timm carries them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent / "class_names"
_SHOWN = 5


@cache
def shipped_class_names() -> tuple[str, ...]:
    """Names of the lists."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.txt")))


@cache
def class_names(listed: str) -> tuple[str, ...]:
    """The names of a shipped list, by label."""
    return tuple((_FOLDER / f"{listed}.txt").read_text(encoding="utf-8").split())


ClassNames = tuple[str, ...] | None
"""Names by label; None where nobody has given any."""


def class_map(trained: tuple[ClassNames, int], tested: tuple[ClassNames, int]) -> tuple[int, ...] | str:
    """For each class of the test set, the class of the training set that it is; or why there is no such map.

    Each side: the names, if any, and the number of classes. By name where both have names; by number where neither has
    and there are as many.
    """
    (names, count), (wanted, tested_count) = trained, tested
    for whose, named, there in (("the training set", names, count), ("it", wanted, tested_count)):
        if named is not None and len(named) != there:
            return f"{whose} has {there} classes and names of {len(named)}; correct its classes.txt"
    if names is not None and wanted is not None:
        place = {name: index for index, name in enumerate(names)}
        unknown = [name for name in wanted if name not in place]
        if not unknown:
            return tuple(place[name] for name in wanted)
        some = ", ".join(unknown[:_SHOWN]) + (" …" if len(unknown) > _SHOWN else "")
        return f"{len(unknown)} of its {len(wanted)} classes are unknown to the model: {some}"
    if (names is None) != (wanted is None):
        whose = "the training set" if names is None else "it"
        return f"{whose} has no names of classes (classes.txt in its folder, a line per class), and the other has"
    if count != tested_count:
        return (
            f"it has {tested_count} classes and the model {count}; write their names into classes.txt in both folders, "
            "a line per class"
        )
    return tuple(range(count))
