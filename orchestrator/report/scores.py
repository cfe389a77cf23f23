"""Means, spreads and ranks. Sums are exact (`math.fsum`), so the order in which results came in leaves no trace."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.report.board import Cell, Row, score_metric
from storage.records import Status
from storage.store import JobState

_TIE_DECIMALS = 9
"""Averages that agree to here are equal: the rest is rounding of the division."""


def score(state: JobState) -> float | None:
    """Test top-1 or Dice of a job in percent; None unless it is done and the number is finite."""
    if state.status is not Status.DONE or state.result is None:
        return None
    value = state.result.metrics.get(score_metric(state.job.dataset.task))
    return value if value is not None and math.isfinite(value) else None


def mean_of(values: Sequence[float | None]) -> float | None:
    """The mean; None where anything is missing, or where there is nothing."""
    present = [value for value in values if value is not None]
    return math.fsum(present) / len(present) if present and len(present) == len(values) else None


def cell(found: Sequence[tuple[int, float | None]], expected: int) -> Cell:
    """The cell of (seed, score in percent) pairs in order of seed; None is a job without a score."""
    scores = tuple((seed, value) for seed, value in found if value is not None)
    values = [value for _, value in scores]
    mean = mean_of(values)
    if mean is None or len(values) < 2:
        return Cell(scores, expected, mean, None)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return Cell(scores, expected, mean, spread)


def whole_mean(cells: Sequence[Cell]) -> float | None:
    """The mean of the cells' means; None when a task or a seed is missing."""
    return mean_of([one.mean if one.n == one.expected else None for one in cells])


def group_means(cells: Sequence[Cell], groups: Sequence[str]) -> tuple[float | None, ...]:
    """The whole mean of each group, in order of first appearance; `groups` names the group of each cell."""
    return tuple(
        whole_mean([one for one, name in zip(cells, groups, strict=True) if name == group])
        for group in dict.fromkeys(groups)
    )


def metric_means(results: Sequence[Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Means over those results that have the metric, in the order of `names`; absent where none has it."""
    means = {name: mean_of([metrics[name] for metrics in results if name in metrics]) for name in names}
    return {name: mean for name, mean in means.items() if mean is not None}


def ranked(rows: Iterable[Row], by: str) -> tuple[Row, ...]:
    """Rows with an average by rank (equal averages share one, the next is skipped), then the others by title."""
    ordered = sorted(rows, key=lambda row: (row.title, row.backbone.label, repr((row.methods, row.recipe, row.seeds))))
    means = {index: getattr(row, by) for index, row in enumerate(ordered)}
    averages = {index: round(mean, _TIE_DECIMALS) for index, mean in means.items() if mean is not None}
    places = sorted(averages, key=lambda index: -averages[index])
    best_first = sorted(averages.values(), reverse=True)
    first_place = {mean: place for place, mean in reversed(list(enumerate(best_first, start=1)))}
    complete = tuple(replace(ordered[index], rank=first_place[averages[index]]) for index in places)
    return (*complete, *(row for index, row in enumerate(ordered) if index not in averages))
