"""Searches replayed on a table of recorded trials, in virtual time, by the code that decides in real ones.

A suggestion is answered by the recorded trial of these values, or the nearest one in the space: its curve, its end, its
duration. On a continuous domain that is a step function through real measurements, good to compare searches with each
other and no new result. Nothing of a replay enters a store.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from methods.api import Domain
from orchestrator.spec import Tune
from orchestrator.tuning.cells import study_id
from orchestrator.tuning.outcomes import PRUNED, Outcome
from orchestrator.tuning.study_run import StudyRun
from orchestrator.tuning.tables import Recorded, Table
from orchestrator.tuning.warm import Offer
from storage.records import Result, Trial


@dataclass(frozen=True)
class TableCell:
    """A recorded study in the place of a cell that is searched. Seed 0 has the random numbers of a real run of the same
    spec, any other its own."""

    table: Table
    tune: Tune
    seed: int = 0

    @property
    def space(self) -> Mapping[str, Domain]:
        return self.table.space

    @property
    def epochs(self) -> int:
        return self.table.epochs

    @property
    def bound(self) -> tuple[str, float] | None:
        return self.table.bound

    @property
    def final_jobs(self) -> int:
        return 0

    @property
    def slot_hours(self) -> float:
        return math.inf if self.tune.hours is None else self.tune.hours

    @cached_property
    def study(self) -> str:
        name = study_id(self.table.fixed, self.table.space, self.tune)
        return f"{name}:{self.seed}" if self.seed else name

    def named(self, params: Mapping[str, Any]) -> tuple[str | None, str]:
        """Equal values are one job, as in a store."""
        refusal = self.table.nearest(params).refusal
        return (None, refusal) if refusal else (json.dumps(dict(params), sort_keys=True), "")


@dataclass(frozen=True)
class Replayed:
    """What a search came to: `trials` and `outcomes` by number.

    `jobs` and `epochs`: trained, what was known already left out. `regret_points`: from the table's best accuracy down
    to the recorded one of the values chosen, infinite where none were. `slot_s`: time of slots; `virtual_s`: from the
    start to the end of the last trial. `front`: values of the objectives, in the spec's order, of the trials that final
    jobs would be made of.
    """

    trials: tuple[Trial, ...]
    outcomes: tuple[Outcome, ...]
    jobs: int
    epochs: int
    best_score: float | None
    regret_points: float
    slot_s: float
    virtual_s: float
    front: tuple[tuple[float, ...], ...] = ()

    @property
    def pruned(self) -> int:
        return sum(one.state == PRUNED for one in self.outcomes)


def replay(cell: TableCell, slots: int = 1, offers: Sequence[Offer] = ()) -> Replayed:
    """Search the table, with the sampler, pruner and budget of `cell.tune`; `offers`: what its siblings have found."""
    run = _Run(cell, slots, offers)
    run.to_its_end()
    study = run.study
    outcomes = tuple(one for one in study.outcomes if one is not None)
    best = study.best
    points = [outcome for one in study.front if (outcome := study.outcomes[one.number]) is not None]
    score = None if best is None else outcomes[best.number].score
    whole = cell.table.outcomes[cell.table.best.number].score
    return Replayed(
        tuple(study.trials),
        outcomes,
        len(run.trained),
        run.epochs,
        score,
        math.inf if score is None or whole is None else whole - score,
        run.slot_s,
        run.now_s,
        tuple(values for one in points if (values := one.values(cell.tune.objectives)) is not None),
    )


@dataclass
class _Attempt:
    """A job on a slot, since `began_s`; `at`: epochs that it has reported."""

    job_id: str
    row: Recorded
    began_s: float
    at: int = 0


class _Run:
    """One study on a few slots, as the loop and the tuner would drive it."""

    def __init__(self, cell: TableCell, slots: int, offers: Sequence[Offer]) -> None:
        self.study = StudyRun(cell, [])
        self._table, self._free, self._offers = cell.table, slots, offers
        self._is_pruning = cell.tune.pruner != "none"
        self._queue: deque[str] = deque()
        self._due: list[tuple[float, int, _Attempt]] = []
        self._events = 0
        self._rows: dict[str, Recorded] = {}
        self.trained: dict[str, int] = {}  # job id -> epochs of its last attempt, once it has ended
        self._took_s: dict[str, float] = {}  # job id -> time of its slot in that attempt
        self.epochs, self.slot_s, self.now_s = 0, 0.0, 0.0

    def to_its_end(self) -> None:
        while True:
            while self._tell() or self._ask():
                pass
            while self._queue and self._free:
                self._free -= 1
                job_id = self._queue.popleft()
                self._follow(_Attempt(job_id, self._rows[job_id], self.now_s))
            if not self._due:
                return
            self.now_s, _, attempt = heapq.heappop(self._due)
            self._reported(attempt)

    def _ask(self) -> bool:
        if not self.study.may_ask:
            return False
        trial = self.study.ask(self._offers)
        is_waited_for = trial.job_id in self.study.waiting
        self.study.add(trial)
        if trial.job_id is not None and not is_waited_for:
            self._rows[trial.job_id] = self._table.nearest(trial.params)
            if not self._is_answered(trial.job_id):
                self.trained.pop(trial.job_id, None)
                self._queue.append(trial.job_id)
        return True

    def _is_answered(self, job_id: str) -> bool:
        """Whether what the job has trained is all that its new trial wants of it."""
        if job_id not in self.trained:
            return False
        row, known = self._rows[job_id], self.trained[job_id]
        return known == len(row.curve) or any(self.study.stops(job_id, epoch) for epoch in row.curve[:known])

    def _tell(self) -> bool:
        ready = [job_id for job_id in self.study.next_to_tell() if job_id in self.trained]
        for job_id in ready:
            self.study.ended(job_id, self._result(job_id))
        return bool(ready)

    def _result(self, job_id: str) -> Result:
        """The whole one, as the verdict is drawn again from its curve, with the time that the attempt has taken."""
        whole = self._rows[job_id].result
        return replace(whole, metrics={**whole.metrics, "wall_s": self._took_s[job_id]})

    def _follow(self, attempt: _Attempt) -> None:
        """Note when the attempt says something next: an epoch that may be its last one, or its end."""
        curve = attempt.row.curve
        reports = self._is_pruning and attempt.at < len(curve)
        after_s = curve[attempt.at].wall_s if reports else max(attempt.row.wall_s, curve[-1].wall_s if curve else 0.0)
        attempt.at = attempt.at + 1 if reports else len(curve) + 1
        self._events += 1
        heapq.heappush(self._due, (attempt.began_s + after_s, self._events, attempt))

    def _reported(self, attempt: _Attempt) -> None:
        curve = attempt.row.curve
        if attempt.at <= len(curve) and not self.study.stops(attempt.job_id, curve[attempt.at - 1]):
            self._follow(attempt)
            return
        self._free += 1
        self.trained[attempt.job_id] = min(attempt.at, len(curve))
        self.epochs += self.trained[attempt.job_id]
        self._took_s[attempt.job_id] = self.now_s - attempt.began_s
        self.slot_s += self._took_s[attempt.job_id]
