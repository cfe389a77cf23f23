"""What is told of a trial, and which one is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SCORE, LOSS, SIZE = "val_top1_pct", "val_loss", "trainable_params"
"""What is maximised; what breaks ties, in this order; the lower number breaks those that are left."""

DONE, PRUNED, DIVERGED, FAILED = "done", "pruned", "diverged", "failed"


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: `done`, `pruned`, `diverged` or `failed` (anything else that brought no number).

    `metrics` are those of the job (`done`), `curve` its validation accuracy in % by epoch, up to where it was pruned.
    `violation`: how far a constrained metric lies above its bound, in parts of the bound; None without a constraint.
    `marks`: what the pruner noted; `wall_s`: time of its slot.
    """

    state: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[tuple[int, float], ...] = ()
    violation: float | None = None
    marks: Mapping[str, Any] = field(default_factory=dict)
    wall_s: float = 0.0

    @property
    def score(self) -> float:
        return self.metrics[SCORE]

    @property
    def is_feasible(self) -> bool:
        return self.violation is None or self.violation <= 0


@dataclass(frozen=True)
class Past:
    """An earlier trial as a later one may see it; `outcome` is None while it counts as running."""

    params: Mapping[str, Any]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Best:
    """The trial whose values are taken, and the numbers of those with the same accuracy that lost the tie."""

    number: int
    tied: tuple[int, ...]


def best_of(outcomes: Sequence[Outcome | None]) -> Best | None:
    """The best finished trial that keeps the constraint; None when there is none.

    On 200 images many trials have the same accuracy: the lower validation loss wins, then the fewer trained values,
    then the earlier trial.
    """
    found = {
        number: one
        for number, one in enumerate(outcomes)
        if one is not None and one.state == DONE and one.is_feasible and SCORE in one.metrics
    }
    if not found:
        return None
    ranked = sorted(found, key=lambda number: (*_rank(found[number]), number))
    first = ranked[0]
    return Best(first, tuple(number for number in ranked[1:] if found[number].score == found[first].score))


def violation_of(bound: tuple[str, float] | None, metrics: Mapping[str, float]) -> float | None:
    """How far the bounded metric lies above its bound, in parts of it; below 0 where it keeps it. None: no bound."""
    return None if bound is None else metrics.get(bound[0], float("inf")) / bound[1] - 1


def _rank(one: Outcome) -> tuple[float, float, float]:
    return (-one.score, one.metrics.get(LOSS, float("inf")), one.metrics.get(SIZE, float("inf")))
