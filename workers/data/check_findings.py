"""What the doctor of data says: one finding per fact, each with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

_SHOWN = 3


class Level(StrEnum):
    """`problem`: numbers on this data set cannot be trusted; `note`: worth knowing; `ok`: looked at and fine."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """One fact about a data set. `where`: the lists or images that show it."""

    level: Level
    what: str
    where: str = ""
    advice: str = ""


def some(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
