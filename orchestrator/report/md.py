"""The board as GitHub-flavoured Markdown."""

from __future__ import annotations

import re

from orchestrator.report.board import Leaderboard, Section
from orchestrator.report.footer import board_lines, section_lines, section_title
from orchestrator.report.table import Column, columns, recipe_column


def render(board: Leaderboard) -> str:
    """One table per section with every column, best value of a column in bold; lines under it as a list."""
    parts = [f"# Leaderboard: {_escaped(', '.join(board.sweeps))}" if board.sweeps else "# Leaderboard", ""]
    for section in board.sections:
        parts += [f"## {_escaped(section_title(section))}", "", *_table(section, board), ""]
        parts += [*(f"- {_escaped(line)}" for line in section_lines(section)), ""]
    parts += ["---", "", *(f"- {_escaped(line)}" for line in board_lines(board))]
    return "\n".join(parts) + "\n"


def _table(section: Section, board: Leaderboard) -> list[str]:
    found = columns(section, board)
    recipe = recipe_column(section)
    found += [] if recipe is None else [recipe]
    rules = [":---" if column.kind in ("name", "recipe") and column.title != "#" else "---:" for column in found]
    body = [[_cell(column, index) for column in found] for index in range(len(section.rows))]
    return [_line([_escaped(column.title) for column in found]), _line(rules), *(_line(cells) for cells in body)]


def _cell(column: Column, index: int) -> str:
    text = _escaped(column.cells[index])
    return f"**{text}**" if column.best[index] else text


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    r"""Text that Markdown shows as it is: `|` would end the cell, `<` begin HTML, `*` and "`" a style."""
    return re.sub(r"([\\|<*`])", r"\\\1", " ".join(text.split()))
