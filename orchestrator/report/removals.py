"""What rows that remove tokens remove: too long for a title, and what the merge rate in the title stands for."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.report.board import Row

SCHEDULE = "schedule"
"""The hyper-parameter that says, in every method that has it, how many tokens each block removes."""


def removal_notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """One sentence per title and schedule: `pyra(merge_rate=high): removes 11 10 8 tokens per block`.

    A title that stands for several schedules, as backbones of different depth have, names the backbone too.
    """
    found: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for row in rows:
        for schedule in _schedules(row):
            found.setdefault(row.title, {}).setdefault(schedule, []).append(row.backbone.label)
    notes = []
    for title, schedules in sorted(found.items()):
        for schedule, backbones in schedules.items():
            where = f" on {_and(backbones)}" if len(schedules) > 1 else ""
            notes.append(f"{title}{where}: removes {' '.join(schedule)} tokens per block")
    return tuple(notes)


def _schedules(row: Row) -> list[tuple[str, ...]]:
    given = [dict(call.params).get(SCHEDULE) for call in row.methods]
    return [tuple(map(str, schedule)) for schedule in given if isinstance(schedule, tuple) and schedule]


def _and(names: Sequence[str]) -> str:
    return " and ".join(sorted(set(names)))
