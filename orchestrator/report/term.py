"""The board for a terminal."""

from __future__ import annotations

import io
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.report.board import Leaderboard
from orchestrator.report.footer import board_lines, section_lines, section_title
from orchestrator.report.table import Column, columns

PLAIN_WIDTH = 100
_GAP = 1
_LEAST_NAME = 12
_KINDS = {"task": "tasks", "group": "group means", "metric": "parameters and costs"}
_DROPPED = ((), ("group",), ("metric",), ("group", "metric"), ("task",), ("task", "metric"), tuple(_KINDS))


@dataclass(frozen=True)
class Screen:
    """Where the text will be read: `width` in columns; without `styled` there are no escape sequences at all."""

    width: int = PLAIN_WIDTH
    styled: bool = False


def render(board: Leaderboard, screen: Screen | None = None) -> str:
    """Compact tables, best value of a column in bold, one footer. Task columns give way to groups where space ends."""
    screen = screen or Screen()
    sink = io.StringIO()
    console = Console(
        file=sink,
        width=screen.width,
        force_terminal=screen.styled,
        color_system="standard" if screen.styled else None,
        no_color=not screen.styled,
        legacy_windows=False,
        markup=False,
        highlight=False,
        emoji=False,
    )
    for section in board.sections:
        found = columns(section, board)
        speed = [column for column in found if column.kind == "speed"]
        shown, hidden = _fitting([column for column in found if column.kind != "speed"], screen.width)
        console.print(Text(section_title(section), style="bold" if screen.styled else ""))
        console.print(_table(shown))
        if speed:  # a table of its own: beside the scores it would push the tasks out
            console.print()
            console.print(_table([*(column for column in found if column.kind == "name"), *speed]))
        notes = section_lines(section) + ([f"Not shown for want of width: {hidden}."] if hidden else [])
        console.print("\n".join(notes), style="dim" if screen.styled else "")
        console.print()
    console.print("\n".join(board_lines(board)), style="dim" if screen.styled else "")
    return "\n".join(line.rstrip() for line in sink.getvalue().splitlines()) + "\n"


def _table(shown: list[Column]) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="")
    for column in shown:
        if column.kind == "name" and column.title != "#":
            table.add_column(column.title, overflow="fold", min_width=min(_LEAST_NAME, _width(column)))
        else:
            table.add_column(_stacked(column.title), justify="right", no_wrap=True, vertical="top")
    for index in range(len(shown[0].cells)):
        cells = (Text(column.cells[index], style="bold" if column.best[index] else "") for column in shown)
        table.add_row(*cells)
    return table


def _fitting(found: list[Column], width: int) -> tuple[list[Column], str]:
    """The columns that fit, and words for those that had to go: tasks are the last to go."""
    for kinds in _DROPPED:
        kept = [column for column in found if column.kind not in kinds]
        if _least_width(kept) <= width:
            break
    words = [_KINDS[kind] for kind in kinds if any(column.kind == kind for column in found)]
    return kept, f"{', '.join(words)} (--format md, csv or json has them)" if words else ""


def _least_width(found: list[Column]) -> int:
    def least(column: Column) -> int:
        return min(_width(column), _LEAST_NAME) if column.kind == "name" else _width(column)

    return sum(least(column) + _GAP for column in found) - _GAP


def _width(column: Column) -> int:
    header = max(len(line) for line in _stacked(column.title).split("\n"))
    return max([header, *(Text(cell).cell_len for cell in column.cells)])


def _stacked(title: str) -> str:
    """A header on two lines where it is long: "mean of" over "3 tasks"."""
    return title.replace("mean of ", "mean of\n")
