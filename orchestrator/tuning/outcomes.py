"""What is told of a trial, and which ones are best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import le
from typing import Any

from storage.records import PRIMARY, EpochMetrics

SCORE, LOSS, SIZE = "val_top1_pct", "val_loss", "trainable_params"
"""What is maximised; what breaks ties, in this order; the lower number breaks those that are left."""

SCORES = tuple(f"val_{name}" for name in PRIMARY.values())
"""What `SCORE` stands for, by the kind of task: top-1, and Dice where there are masks."""

OBJECTIVES = (SCORE, "macs", SIZE)
"""What a search may be after: facts of a job alone, and nothing that depends on the machine or the moment."""

DONE, PRUNED, DIVERGED, FAILED = "done", "pruned", "diverged", "failed"


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: `done`, `pruned`, `diverged` or `failed` (anything else that brought no number).

    `metrics` are those of the job (`done`), `curve` its validation score in % by epoch, up to where it was pruned.
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
    def score(self) -> float | None:
        """In %; None where it was not trained to its end."""
        return score_of(self.metrics) if self.state == DONE else None

    @property
    def is_feasible(self) -> bool:
        return self.violation is None or self.violation <= 0

    def values(self, objectives: Sequence[str]) -> tuple[float, ...] | None:
        """What it reached in each objective; None where it is not done, or lacks one of them."""
        known = {**self.metrics, **({} if self.score is None else {SCORE: self.score})}
        if self.state != DONE or not all(name in known for name in objectives):
            return None
        return tuple(known[name] for name in objectives)


@dataclass(frozen=True)
class Past:
    """An earlier trial as a later one may see it; `outcome` is None while it counts as running."""

    params: Mapping[str, Any]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    outcome: Outcome | None = None


@dataclass(frozen=True)
class Best:
    """A trial whose values are taken, and the numbers of those that are equal in every objective and lost the tie."""

    number: int
    tied: tuple[int, ...]


def best_of(outcomes: Sequence[Outcome | None]) -> Best | None:
    """The best finished trial that keeps the constraint; None when there is none: the front of accuracy alone."""
    return next(iter(front_of(outcomes)), None)


def front_of(
    outcomes: Sequence[Outcome | None], objectives: Sequence[str] = (SCORE,), jobs: Sequence[str | None] = ()
) -> tuple[Best, ...]:
    """The Pareto set of the finished trials that keep the constraint, the most accurate first; of one objective at most
    one trial.

    A trial is left out where another one is at least as good in every objective and better in one. On 200 images many
    trials are equal: the lower validation loss wins, then the fewer trained values, then the earlier trial. `jobs`: by
    number; trials of one job are one result, and tie with nobody.
    """
    equal: dict[tuple[float, ...], list[int]] = {}
    for number, one in enumerate(outcomes):
        values = one.values(objectives) if one is not None and one.is_feasible else None
        if values is not None:
            equal.setdefault(tuple(map(_loss, objectives, values)), []).append(number)
    front: list[tuple[float, ...]] = []
    for losses in sorted(equal):  # what beats a trial comes before it
        if not any(all(map(le, other, losses)) for other in front):
            front.append(losses)
    ranked = [sorted(equal[losses], key=lambda number: (*_rank(outcomes[number]), number)) for losses in front]
    return tuple(Best(numbers[0], tuple(_of_other_jobs(numbers, jobs))) for numbers in ranked)


def _of_other_jobs(numbers: Sequence[int], jobs: Sequence[str | None]) -> list[int]:
    """All but the first, one for each further job."""
    by_job = {jobs[number] if jobs else number: number for number in reversed(numbers)}
    return [number for number in numbers[1:] if by_job[jobs[number] if jobs else number] == number]


def score_of(metrics: Mapping[str, float]) -> float | None:
    """The validation score in %, of whichever kind of task; None where there is none."""
    return next((metrics[name] for name in SCORES if name in metrics), None)


def curve_of(epochs: Iterable[EpochMetrics]) -> tuple[tuple[int, float], ...]:
    """(epoch, validation score in %) of those that were scored."""
    return tuple((one.epoch, score) for one in epochs if (score := score_of(one.metrics)) is not None)


def violation_of(bound: tuple[str, float] | None, metrics: Mapping[str, float]) -> float | None:
    """How far the bounded metric lies above its bound, in parts of it; below 0 where it keeps it. None: no bound."""
    return None if bound is None else metrics.get(bound[0], float("inf")) / bound[1] - 1


def is_maximised(objective: str) -> bool:
    """Accuracy is; all other objectives are costs."""
    return objective == SCORE


def _loss(objective: str, value: float) -> float:
    return -value if is_maximised(objective) else value


def _rank(one: Outcome | None) -> tuple[float, float]:
    metrics = {} if one is None else one.metrics
    return metrics.get(LOSS, float("inf")), metrics.get(SIZE, float("inf"))
