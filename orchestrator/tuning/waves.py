"""Which cells of a plan start from which others: waves of siblings (see orchestrator.tuning.warm)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from orchestrator.tuning.cells import Cell
from orchestrator.tuning.warm import first_of_wave, wave_of

Group = Callable[[str], str | None]
"""The group of a data set in its suite."""


def with_siblings(cells: Sequence[Cell], group: Group) -> tuple[Cell, ...]:
    """The cells, each with the siblings that it starts from: those of earlier waves, data sets of its own suite and
    group first."""
    found = {cell.index: cell for cell in cells}
    for family in families(cells):
        for position, cell in enumerate(family):
            earlier = [found[one.index] for one in family[: first_of_wave(wave_of(position))]]
            near = [one for one in earlier if _place(one, group) == _place(cell, group)]
            far = [one for one in earlier if _place(one, group) != _place(cell, group)]
            found[cell.index] = replace(cell, siblings=(*near, *far))
    return tuple(found[cell.index] for cell in cells)


def families(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Cells of the same row, backbone and space, in the order of the plan."""
    found: dict[object, list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell.row, cell.point.backbone.ref, tuple(cell.space.items())), []).append(cell)
    return list(found.values())


def waves(family: Sequence[Cell]) -> list[list[Cell]]:
    """The cells that search at the same time, in the order in which they do."""
    found: list[list[Cell]] = []
    for position, cell in enumerate(family):
        if wave_of(position) == len(found):
            found.append([])
        found[-1].append(cell)
    return found


def _place(cell: Cell, group: Group) -> tuple[str, str | None]:
    name = cell.point.dataset.name
    return name.rpartition("/")[0], group(name)
