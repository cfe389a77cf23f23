"""Tables of recorded trials: what searches are replayed on, read from a store or from a file for a repository.

A file has one JSON line about the study and one per trial: values, curve by epoch, end. No number is rounded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from methods.api import Domain
from orchestrator.errors import NothingToShow, UsageError
from orchestrator.tuning.cells import Cell
from orchestrator.tuning.outcomes import (
    DIVERGED,
    DONE,
    FAILED,
    LOSS,
    OBJECTIVES,
    SCORE,
    Best,
    Outcome,
    best_of,
    score_of,
    violation_of,
)
from orchestrator.tuning.table_files import REFUSED, VERSION, is_table, table_records
from storage.records import EpochMetrics, Failure, FailureClass, Result, Status
from storage.records.whole import write_whole
from storage.store import Store

_MOST_IMAGES = 100_000


@dataclass(frozen=True)
class Recorded:
    """One trial that ran to its own end. `end`: done, diverged, failed, or refused (it never ran, `refusal` says why).

    `curve`: accuracy, loss and seconds since the start by epoch; `wall_s`: of the whole job; `metrics`: its last ones.
    """

    params: Mapping[str, Any]
    end: str
    curve: tuple[EpochMetrics, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    wall_s: float = 0.0
    refusal: str = ""

    @cached_property
    def result(self) -> Result:
        """As the job's slot gave it."""
        metrics = {**self.metrics, "wall_s": self.wall_s}
        if self.end == DONE:
            return Result(job_id="", status=Status.DONE, metrics=metrics, epochs=self.curve)
        failure = Failure(FailureClass.DIVERGED if self.end == DIVERGED else FailureClass.USER_ERROR, "as recorded")
        return Result(job_id="", status=Status.FAILED, metrics=metrics, epochs=self.curve, failure=failure)

    def to_json(self) -> dict[str, Any]:
        """One line of a file."""
        if self.end == REFUSED:
            return {"params": dict(self.params), "end": REFUSED, "refusal": self.refusal}
        columns = {name: [epoch.metrics[name] for epoch in self.curve] for name in _curves(self.curve)}
        return {
            "params": dict(self.params),
            "end": self.end,
            "wall_s": self.wall_s,
            "metrics": dict(self.metrics),
            "epoch": [epoch.epoch for epoch in self.curve],
            "epoch_s": [epoch.wall_s for epoch in self.curve],
            **columns,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Recorded:
        """What `to_json` wrote, as `table_records` has checked it."""
        if record["end"] == REFUSED:
            return cls(dict(record["params"]), REFUSED, refusal=record["refusal"])
        names = [name for name in (SCORE, LOSS) if name in record]
        rows = zip(record["epoch"], record["epoch_s"], *(record[name] for name in names), strict=True)
        curve = tuple(
            EpochMetrics(int(epoch), dict(zip(names, map(float, values), strict=True)), float(wall_s))
            for epoch, wall_s, *values in rows
        )
        metrics = {name: float(value) for name, value in record["metrics"].items()}
        return cls(dict(record["params"]), record["end"], curve, metrics, float(record["wall_s"]))


@dataclass(frozen=True)
class Table:
    """The trials of one study, and what decides its name: `fixed` and `space` (see Cell), `constraint` of its spec.

    `epochs`: the most that a trial trains; `bound`: the constraint in its metric's own unit.
    """

    study: str
    row: str
    backbone: str
    dataset: str
    fixed: Any
    space: Mapping[str, Domain]
    epochs: int
    constraint: tuple[str, float] | None
    bound: tuple[str, float] | None
    trials: tuple[Recorded, ...]

    @cached_property
    def outcomes(self) -> tuple[Outcome, ...]:
        return tuple(
            Outcome(DONE, one.metrics, violation=violation_of(self.bound, one.metrics))
            if one.end == DONE
            else Outcome(FAILED if one.end == REFUSED else one.end)
            for one in self.trials
        )

    @cached_property
    def best(self) -> Best:
        """Raises NothingToShow where no trial found anything."""
        found = best_of(self.outcomes)
        if found is None:
            text = f"study {self.study} has no trial with a number within its bound: nothing to compare with"
            raise NothingToShow(text)
        return found

    @cached_property
    def epochs_trained(self) -> int:
        return sum(len(one.curve) for one in self.trials)

    @cached_property
    def image_points(self) -> float | None:
        """What one validation image is worth, in points of accuracy; None where the accuracies do not tell."""
        images = 1
        for score in (epoch.metrics[SCORE] for one in self.trials for epoch in one.curve):
            images = math.lcm(images, Fraction(score / 100).limit_denominator(_MOST_IMAGES).denominator)
            if images > _MOST_IMAGES:
                return None
        return 100 / images

    def nearest(self, params: Mapping[str, Any]) -> Recorded:
        """The recorded trial with these values, or the nearest one in the space."""
        exact = self._by_values.get(_values(params, self.space))
        return exact or min(self.trials, key=lambda one: _distance(self.space, params, one.params))

    @cached_property
    def _by_values(self) -> dict[tuple[Any, ...], Recorded]:
        return {_values(one.params, self.space): one for one in reversed(self.trials)}


def recorded_table(store: Store, cell: Cell) -> Table:
    """The trials of the cell's study that ran to their own end; pruned ones have no end. Raises NothingToShow when
    there is none."""
    kept = {*OBJECTIVES, LOSS, *([] if cell.bound is None else [cell.bound[0]])}
    trials = []
    for trial in store.trials([cell.study]):
        if trial.job_id is None:
            trials.append(Recorded(trial.params, REFUSED, refusal=trial.refusal))
            continue
        state = store.job(trial.job_id)
        if state.result is not None and state.status in (Status.DONE, Status.FAILED):
            trials.append(_recorded(trial.params, state.result, kept))
    if all(one.end == REFUSED for one in trials):
        raise NothingToShow(f"study {cell.study} has no finished trial to replay; `sweepboard tune show` lists studies")
    point = cell.point
    names = (cell.study, cell.row, point.backbone.ref.name, point.dataset.name)
    return Table(*names, cell.fixed, cell.space, cell.epochs, cell.tune.constraint, cell.bound, tuple(trials))


def save_table(table: Table, path: Path) -> None:
    """Raises UsageError where the file is somebody else's or cannot be written."""
    head = {
        "sweepboard_table": VERSION,
        "study": table.study,
        "row": table.row,
        "backbone": table.backbone,
        "dataset": table.dataset,
        "epochs": table.epochs,
        "space": {name: {one.kind: list(one.values)} for name, one in table.space.items()},
        "constraint": table.constraint,
        "bound": table.bound,
        "fixed": table.fixed,
    }
    lines = [json.dumps(one, separators=(",", ":")) for one in (head, *(one.to_json() for one in table.trials))]
    try:
        if path.exists() and not is_table(path):
            raise UsageError(f"--save {path} exists and is no table; choose another name, or move it away")
        write_whole(path, "\n".join([*lines, ""]))
    except OSError as error:
        raise UsageError(f"--save {path} cannot be written ({error.strerror}); choose another place") from None


def load_table(path: Path) -> Table:
    """Raises UsageError with all that is not as `save_table` wrote it."""
    head, space, records = table_records(path)
    names = (head["study"], head["row"], head["backbone"], head["dataset"])
    bounds = (_bound(head["constraint"]), _bound(head["bound"]))
    trials = tuple(map(Recorded.from_json, records))
    return Table(*names, head["fixed"], space, head["epochs"], *bounds, trials)


def _bound(value: Any) -> tuple[str, float] | None:
    return None if value is None else (value[0], float(value[1]))


def _recorded(params: Mapping[str, Any], result: Result, kept: set[str]) -> Recorded:
    curve = tuple(
        EpochMetrics(one.epoch, _point(score, one.metrics), one.wall_s)
        for one in result.epochs
        if (score := score_of(one.metrics)) is not None
    )
    last = score_of(result.metrics)
    end = DONE if result.status is Status.DONE and last is not None else FAILED
    if result.failure is not None and result.failure.failure_class is FailureClass.DIVERGED:
        end = DIVERGED
    wall_s = result.metrics.get("wall_s", curve[-1].wall_s if curve else 0.0)
    metrics = {name: value for name, value in result.metrics.items() if name in kept}
    if last is not None:
        metrics[SCORE] = last  # Dice too: a table has one score
    return Recorded(params, end, curve, metrics, wall_s)


def _point(score: float, metrics: Mapping[str, float]) -> dict[str, float]:
    return {SCORE: score, LOSS: metrics[LOSS]} if LOSS in metrics else {SCORE: score}


def _curves(curve: Sequence[EpochMetrics]) -> list[str]:
    return [name for name in (SCORE, LOSS) if curve and all(name in epoch.metrics for epoch in curve)]


def _values(params: Mapping[str, Any], space: Mapping[str, Domain]) -> tuple[Any, ...]:
    return tuple(params[name] for name in space)


def _distance(space: Mapping[str, Domain], one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Euclidean and squared, every domain scaled to 0 … 1; two choices are 0 or 1 apart."""
    total = 0.0
    for name, domain in space.items():
        if domain.kind == "choice":
            total += one[name] != other[name]
        else:
            total += (_position(domain, one[name]) - _position(domain, other[name])) ** 2
    return total


def _position(domain: Domain, value: Any) -> float:
    low, high = (float(str(end)) for end in domain.values)
    if domain.kind == "log":
        low, high, value = math.log(low), math.log(high), math.log(value)
    return 0.0 if high == low else (float(value) - low) / (high - low)
