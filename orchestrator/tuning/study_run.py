"""One study while its sweep runs: which trial comes next, what earlier ones tell it, when it is over.

Nothing here depends on when something happened. Trial n is asked once trials up to n - parallel have ended, and sees
their outcomes; the parallel - 1 trials between count as running, also where one of them has ended. A trial is pruned by
its curve and by the same outcomes; what a pruned job trained until it heard of it, or whether it had ended, changes
nothing. So a driver that was killed goes on with the same trials. Only a budget in hours depends on the clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from methods.api import Domain
from orchestrator.spec import Tune
from orchestrator.tuning.optuna_study import Judge, OptunaStudy, grid_size, most_trials
from orchestrator.tuning.outcomes import (
    DIVERGED,
    DONE,
    FAILED,
    PRUNED,
    Best,
    Outcome,
    Past,
    curve_of,
    front_of,
    score_of,
    violation_of,
)
from orchestrator.tuning.warm import WARM, Offer, untried
from storage.records import EpochMetrics, FailureClass, Result, Status, Trial, TrialEnd
from storage.records.tuned import OBJECTIVES

EPOCHS = "train.epochs"
"""The parameter that says how long a trial trains."""


class Searched(Protocol):
    """What a study needs to know of the cell that it searches (orchestrator.tuning.cells.Cell, or a recorded table)."""

    @property
    def study(self) -> str: ...

    @property
    def space(self) -> Mapping[str, Domain]: ...

    @property
    def tune(self) -> Tune: ...

    @property
    def epochs(self) -> int: ...

    @property
    def bound(self) -> tuple[str, float] | None: ...

    @property
    def final_jobs(self) -> int: ...

    @property
    def slot_hours(self) -> float: ...

    def named(self, params: Mapping[str, Any]) -> tuple[str | None, str]: ...


C = TypeVar("C", bound=Searched)


class StudyRun(Generic[C]):
    """`trials` and `outcomes` by number; an outcome is None until the trial has ended."""

    def __init__(self, cell: C, trials: Sequence[Trial]) -> None:
        self.cell = cell
        self.trials = list(trials)
        self.outcomes: list[Outcome | None] = []
        self._told = 0  # so many outcomes, from the first, are known
        self.finals: tuple[str, ...] | None = None  # ids, once they have joined the sweep
        tune = cell.tune
        study = OptunaStudy(cell.study, cell.space, tune.sampler, tune.pruner, cell.epochs)
        self._optuna = study.toward(tune.objectives)
        self._judges: dict[int, tuple[int, Judge]] = {}  # number -> (last epoch that it saw, the judge)
        for trial in trials:
            self._add(trial)

    @property
    def waiting(self) -> dict[str, list[int]]:
        """Job id -> numbers of the trials that wait for it."""
        found: dict[str, list[int]] = {}
        for number, (trial, outcome) in enumerate(zip(self.trials, self.outcomes, strict=True)):
            if outcome is None and trial.job_id is not None:
                found.setdefault(trial.job_id, []).append(number)
        return found

    @property
    def may_ask(self) -> bool:
        number = len(self.trials)
        return self._is_ready(number) and not self._is_spent(number)

    @property
    def is_over(self) -> bool:
        """The budget is used up and every trial has ended."""
        return self._told == len(self.trials) and self._is_spent(len(self.trials))

    @property
    def to_come(self) -> int:
        """Jobs that this study will add, at least: of a budget in hours only the final ones are known, of a front that
        it has one point."""
        if self.finals is not None:
            return 0
        tune = self.cell.tune
        most = most_trials(tune.sampler, tune.trials, self.cell.space) or 0
        trials = 0 if self.is_over else max(0, most - len(self.trials))
        return trials + self.cell.final_jobs

    @property
    def best(self) -> Best | None:
        """The first of the front."""
        return next(iter(self.front), None)

    @property
    def is_bound_too_low(self) -> bool:
        """Whether trials ended well, and none of them keeps the constraint."""
        return not self.front and any(one is not None and one.score is not None for one in self.outcomes)

    @property
    def front(self) -> tuple[Best, ...]:
        """What the final jobs are made of: of one objective the best trial alone."""
        return front_of(self.outcomes, self.cell.tune.objectives, [one.job_id for one in self.trials])

    def ask(self, offers: Sequence[Offer] = ()) -> Trial:
        """The next trial, with the job that it names in its cell; nothing is recorded yet.

        Its values are the sampler's, or those of an offer that is still to be tried."""
        number = len(self.trials)
        possible = (offer for offer in untried(offers, self.trials) if self.cell.named(offer.params)[0] is not None)
        offer = next(possible, None)
        params, attrs = self._optuna.ask(self._past(number), None if offer is None else offer.params)
        job_id, refusal = self.cell.named(params)
        if offer is not None:
            attrs = {**attrs, WARM: offer.origin}
        if self.cell.tune.has_front:
            attrs = {**attrs, OBJECTIVES: list(self.cell.tune.objectives)}
        return Trial(self.cell.study, number, job_id, params, attrs, refusal, self.cell.bound)

    def add(self, trial: Trial) -> None:
        """Take in the trial as the store has recorded it."""
        self.trials.append(trial)
        self._add(trial)

    def _add(self, trial: Trial) -> None:
        self.outcomes.append(Outcome(FAILED) if trial.job_id is None else None)
        self._count_told()

    def stops(self, job_id: str, epoch: EpochMetrics) -> bool:
        """Whether every trial that waits for the job would be pruned after this epoch."""
        numbers = self.waiting.get(job_id, [])
        if not numbers or not all(self._is_ready(number) for number in numbers):
            return False
        return all([self._is_pruned(number, epoch) for number in numbers])

    def ended(self, job_id: str, result: Result) -> list[Trial] | None:
        """Tell the trials that wait for the job and can be told by now; a later one may have to wait for the outcomes
        of those between.

        The trials that now have their end, for the store. None, and nothing is told, when another study ended the job
        before this one would have: it must go on.
        """
        numbers = [number for number in self.waiting.get(job_id, []) if self._is_ready(number)]
        ends = {number: self._end(number, result) for number in numbers}
        for number in numbers:
            self._judges.pop(number, None)
        if result.status is Status.PRUNED and any(end.pruned_after is None for end in ends.values()):
            return None
        for number, end in ends.items():
            self.outcomes[number] = self._outcome(number, result, end)
        self._count_told()
        if result.status not in (Status.DONE, Status.PRUNED):
            return []  # it may be tried again
        fresh = [number for number in numbers if self.trials[number].end is None]
        for number in fresh:
            self.trials[number] = replace(self.trials[number], end=ends[number])
        return [self.trials[number] for number in fresh]

    def _count_told(self) -> None:
        while self._told < len(self.outcomes) and self.outcomes[self._told] is not None:
            self._told += 1

    def next_to_tell(self) -> list[str]:
        """Jobs whose trials can be told now: all that their verdicts rest on is known."""
        return [job_id for job_id, numbers in self.waiting.items() if self._is_ready(numbers[0])]

    def _is_ready(self, number: int) -> bool:
        """Whether all outcomes that trial `number` sees are known."""
        return self._seen_by(number) <= self._told

    def _end(self, number: int, result: Result) -> TrialEnd:
        """As it was recorded, or else by this study's verdicts on the curve."""
        recorded = self.trials[number].end
        if recorded is not None:
            return recorded
        self._judges.pop(number, None)
        pruned_after = next((epoch.epoch for epoch in result.epochs if self._is_pruned(number, epoch)), None)
        judged = self._judges.get(number)
        return TrialEnd(pruned_after, {} if judged is None else judged[1].marks)

    def _outcome(self, number: int, result: Result, end: TrialEnd) -> Outcome:
        last = float("inf") if end.pruned_after is None else end.pruned_after
        curve = tuple((epoch, score) for epoch, score in curve_of(result.epochs) if epoch <= last)
        wall_s = result.metrics.get("wall_s", result.epochs[-1].wall_s if result.epochs else 0.0)
        if end.pruned_after is not None and result.status in (Status.DONE, Status.PRUNED):
            return Outcome(PRUNED, result.metrics, curve, None, end.marks, wall_s)
        if result.status is Status.DONE and score_of(result.metrics) is not None:
            violation = violation_of(self.trials[number].bound, result.metrics)
            return Outcome(DONE, result.metrics, curve, violation, end.marks, wall_s)
        failure = result.failure
        is_divergence = failure is not None and failure.failure_class is FailureClass.DIVERGED
        return Outcome(DIVERGED if is_divergence else FAILED, wall_s=wall_s)

    def _is_pruned(self, number: int, epoch: EpochMetrics) -> bool:
        """The verdict after that epoch; never after its last one, which saves nothing."""
        score = score_of(epoch.metrics)
        last_epoch = int(self.trials[number].params.get(EPOCHS, self.cell.epochs))
        if self.cell.tune.pruner == "none" or score is None or epoch.epoch >= last_epoch:
            return False
        last, judge = self._judges.get(number, (0, None))
        if judge is None or epoch.epoch <= last:  # a new attempt begins at its first epoch
            judge = self._optuna.judge(self._past(number))
        self._judges[number] = (epoch.epoch, judge)
        return judge.prunes(epoch.epoch, score)

    def _past(self, number: int) -> list[Past]:
        seen = self._seen_by(number)
        return [
            Past(trial.params, trial.attrs, outcome if at < seen else None)
            for at, (trial, outcome) in enumerate(zip(self.trials[:number], self.outcomes, strict=False))
        ]

    def _seen_by(self, number: int) -> int:
        """How many outcomes, from the first, trial `number` sees."""
        return max(0, number - self.cell.tune.parallel + 1)

    def _is_spent(self, number: int) -> bool:
        """Whether trial `number` is beyond the budget."""
        tune = self.cell.tune
        if tune.trials is not None and number >= tune.trials:
            return True
        if tune.sampler == "grid" and number >= grid_size(self.cell.space):
            return True
        seen = self.outcomes[: self._seen_by(number)]
        return sum(one.wall_s for one in seen if one is not None) >= self.cell.slot_hours * 3600
