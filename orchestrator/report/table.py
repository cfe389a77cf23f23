"""A section as text columns: what the terminal, Markdown and later LaTeX and HTML have in common."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from orchestrator.report.board import BOARD_METRICS, MCE, Cell, Leaderboard, Row, Section
from orchestrator.report.measured import SPEED_COLUMNS
from orchestrator.report.titles import value_text
from orchestrator.report.tuned import chosen_text, tuned_fields
from storage.records import METRICS

MISSING = "-"
METRIC_TITLES = {MCE: "mCE %", "trainable_params": "params", "head_params": "head", "macs": "MACs", "wall_s": "wall_s"}
_SI = ("", "k", "M", "G", "T", "P")


@dataclass(frozen=True)
class Column:
    """`kind`: "name", "task", "group", "mean", "metric", "speed", "recipe" or "done"; `best`: cells to set in bold."""

    kind: str
    title: str
    cells: tuple[str, ...]
    best: tuple[bool, ...]


def columns(section: Section, board: Leaderboard) -> list[Column]:
    """All columns of a section in reading order; every column has one cell per row."""
    rows, seeds = section.rows, section.seeds
    found = [
        _text("name", "#", [MISSING if row.rank is None else str(row.rank) for row in rows]),
        _text("name", "method", [one_line(row.title) for row in rows]),
        _text("name", "backbone", [one_line(row.backbone.label) for row in rows]),
    ]
    for index, task in enumerate(section.tasks):
        cells = [row.cells[index] for row in rows]
        texts = [_cell_text(cell, seeds) for cell in cells]
        found.append(Column("task", task.title, tuple(texts), _best([_whole(cell) for cell in cells], 1, max)))
    for index, group in enumerate(section.groups):
        found.append(_mean_column("group", group, [row.group_means[index] for row in rows]))
    for name, title in section.averages:
        found.append(_mean_column("mean", title, [getattr(row, name) for row in rows]))
    for name in BOARD_METRICS:
        if name in board.metrics and (name != MCE or any(name in row.metric_means for row in rows)):
            found.append(_metric_column(name, rows))
    if any(row.measured for row in rows):
        found += [_speed_column(name, rows) for name in SPEED_COLUMNS]
    found.append(_text("done", "done", [f"{row.done}/{row.expected}" for row in rows]))
    return found


def recipe_column(section: Section) -> Column | None:
    """Recipe fields in which the rows of the section differ, as text per row; None when they all agree."""
    shared = {name for name, _ in shared_recipe(section)}
    texts = [_recipe_text(row, shared) for row in section.rows]
    return _text("recipe", "recipe", texts) if any(texts) else None


def shared_recipe(section: Section) -> tuple[tuple[str, str], ...]:
    """(field, value) of everything in the recipe on which all rows and tasks of the section agree."""
    tuned = tuned_fields(section.rows[0])
    return tuple(
        (name, chosen_text(values[0]) if name in tuned else value_text(values[0]))
        for name, values in section.rows[0].recipe
        if len(values) == 1 and all((name, values) in row.recipe for row in section.rows)
    )


def shared_recipe_in_use(section: Section) -> str:
    """The shared recipe in one line, without what is off (zero, none) and what the rest of it makes meaningless."""
    shared = dict(shared_recipe(section))
    if shared.get("optimizer", "sgd") != "sgd":
        shared.pop("momentum", None)
    if shared.get("mixup_alpha") == "0" and shared.get("cutmix_alpha") == "0":
        shared.pop("mixup_prob", None)
    return " ".join(f"{name}={value}" for name, value in shared.items() if value not in ("0", "none"))


def compact(value: float) -> str:
    """Four significant digits with an SI prefix: 27840 -> "27.84k", 1.26e9 -> "1.26G", 768 -> "768"."""
    thousands = 0 if abs(value) < 1000 else min(int(math.log10(abs(value)) // 3), len(_SI) - 1)
    return f"{value / 1000**thousands:.4g}{_SI[thousands]}"


def one_line(text: str) -> str:
    """The text with every run of white space and control characters as one space: labels are free text."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()


def _text(kind: str, title: str, cells: Sequence[str]) -> Column:
    return Column(kind, title, tuple(cells), (False,) * len(cells))


def _mean_column(kind: str, title: str, means: Sequence[float | None]) -> Column:
    texts = tuple(MISSING if mean is None else f"{mean:.2f}" for mean in means)
    return Column(kind, title, texts, _best(means, 2, max))


def _metric_column(name: str, rows: Sequence[Row]) -> Column:
    values = [row.metric_means.get(name) for row in rows]
    texts = tuple(MISSING if value is None else _metric_text(name, value) for value in values)
    compete = [value if row.done == row.expected else None for row, value in zip(rows, values, strict=True)]
    return Column("metric", METRIC_TITLES[name], texts, _best(compete, 1, min))


def _speed_column(name: str, rows: Sequence[Row]) -> Column:
    """The best is marked only where all rows were measured alike."""
    values = [None if row.measured is None else row.measured.metrics.get(name) for row in rows]
    texts = tuple(MISSING if value is None else compact(round(value)) for value in values)
    alike = len({row.measured.setting for row in rows if row.measured}) == 1
    best = _best(values, 0, max if METRICS[name].better == "higher" else min) if alike else (False,) * len(rows)
    return Column("speed", SPEED_COLUMNS[name], texts, best)


def _metric_text(name: str, value: float) -> str:
    return f"{value:.1f}" if METRICS[name].unit in ("s", "%") else compact(value)


def _cell_text(cell: Cell, seeds: int) -> str:
    if cell.mean is None:
        return MISSING
    spread = "" if cell.std is None else f"±{cell.std:.1f}"
    return f"{cell.mean:.1f}{spread}" + ("" if cell.n == seeds else f" (n={cell.n})")


def _whole(cell: Cell) -> float | None:
    return cell.mean if cell.n == cell.expected else None


def _best(values: Sequence[float | None], decimals: int, pick: Callable[[list[float]], float]) -> tuple[bool, ...]:
    """Marks every value that reads as the best one; none where all read alike. What is incomplete does not compete."""
    read = [None if value is None else round(value, decimals) for value in values]
    present = [value for value in read if value is not None]
    if len(set(present)) < 2:
        return (False,) * len(values)
    best = pick(present)
    return tuple(value == best for value in read)


def _recipe_text(row: Row, without: Collection[str]) -> str:
    tuned = tuned_fields(row)
    fields = []
    for name, values in row.recipe:
        texts = [chosen_text(value) if name in tuned else value_text(value) for value in values]
        fields += [] if name in without else [f"{name}={' or '.join(dict.fromkeys(texts))}"]
    return " ".join(fields)
