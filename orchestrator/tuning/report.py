"""What a search has found so far, read from the store alone: for `tune show`, `tune best` and `status`."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.guide import PRUNED_AFTER
from orchestrator.spec import Tune, parse_spec
from orchestrator.spec_problems import SpecError
from orchestrator.tuning.optuna_study import grid_size
from orchestrator.tuning.outcomes import (
    DIVERGED,
    DONE,
    FAILED,
    LOSS,
    OBJECTIVES,
    PRUNED,
    SCORE,
    SCORES,
    Best,
    Outcome,
    front_of,
    violation_of,
)
from orchestrator.tuning.spaces import space_of, written_space
from orchestrator.tuning.warm import WARM
from storage.records import PRIMARY, FailureClass, Status, Trial
from storage.records.tuned import SEARCH_ROW
from storage.store import JobState, Store


@dataclass(frozen=True)
class TrialReport:
    """`state`: done, pruned, diverged, failed, or the job's own while it runs. `epochs`: what its job has trained,
    of `planned`; `pruned_after`: the one after which the search gave it up, which its job may have heard later.
    `reason`: why it brought no number."""

    trial: Trial
    state: str
    outcome: Outcome | None
    epochs: int
    planned: int
    reason: str = ""
    pruned_after: int | None = None

    def to_json(self) -> dict[str, Any]:
        metrics = self.outcome.metrics if self.outcome is not None else {}
        return {
            "number": self.trial.number,
            "job_id": self.trial.job_id,
            "params": dict(self.trial.params),
            "state": self.state,
            **{name: metrics.get(name) for name in (*SCORES, *OBJECTIVES[1:], LOSS)},
            "keeps_bound": None if self.outcome is None or self.trial.bound is None else self.outcome.is_feasible,
            "epochs": self.epochs,
            "planned_epochs": self.planned,
            "pruned_after": self.pruned_after,
            "refusal": self.trial.refusal,
            "reason": self.reason,
            WARM: self.trial.attrs.get(WARM),
        }


@dataclass(frozen=True)
class StudyReport:
    """One study of a sweep. `score`: the metric that is made high. `chosen`: the trial behind its final jobs; None
    until they have joined. `is_over`: nothing more will be tried, as far as the sweep's spec tells.

    `front`: of several objectives, the trials that no other one beats in all of them, the most accurate first; they are
    behind the final jobs, and `best` and `chosen` are the first of them.
    """

    study: str
    row: str
    backbone: str
    dataset: str
    trials: tuple[TrialReport, ...]
    best: Best | None
    chosen: int | None
    objectives: tuple[str, ...] = (SCORE,)
    front: tuple[Best, ...] = ()
    score: str = SCORE
    is_over: bool = False

    @property
    def has_front(self) -> bool:
        return len(self.objectives) > 1

    @property
    def named_objectives(self) -> tuple[str, ...]:
        """As they are called on this data set: on masks the score is Dice."""
        return self.score, *self.objectives[1:]

    def count(self, state: str) -> int:
        return sum(one.state == state for one in self.trials)

    @property
    def found_nothing(self) -> str:
        """Why a search that is over has nothing to show for it; empty where it has, or goes on."""
        if not self.is_over or self.best is not None:
            return ""
        if any(one.outcome is not None and one.outcome.score is not None for one in self.trials):
            return "no trial kept the constraint: raise its bound, or widen the space"
        return "no trial was trained to its end: `sweepboard tune show` says why"

    @property
    def epochs_saved(self) -> int:
        """Epochs that jobs of pruned trials did not train; a job of several trials counts once."""
        return sum(one.planned - one.epochs for one in self._by_job if one.state == PRUNED)

    @property
    def epochs_planned(self) -> int:
        return sum(one.planned for one in self._by_job)

    @property
    def _by_job(self) -> list[TrialReport]:
        """One trial of each job."""
        return list({one.trial.job_id: one for one in self.trials}.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "study": self.study,
            "row": self.row,
            "backbone": self.backbone,
            "dataset": self.dataset,
            "best": None if self.best is None else self.trials[self.best.number].to_json(),
            "tied": [] if self.best is None else list(self.best.tied),
            "final_jobs_from_trial": self.chosen,
            "objectives": list(self.named_objectives),
            "front": [{**self.trials[one.number].to_json(), "tied": list(one.tied)} for one in self.front],
            "epochs_saved": self.epochs_saved,
            "epochs_planned": self.epochs_planned,
            "trials": [one.to_json() for one in self.trials],
        }


def study_reports(store: Store, sweep: str) -> list[StudyReport]:
    """Every study that asked for a job of the sweep. A study shared with another sweep is shown as far as its jobs are
    in this one. Raises UnknownSweep."""
    states = {state.job.job_id: state for state in store.jobs(sweep)}
    chosen: dict[str, set[int]] = {}
    for state in states.values():
        if state.tuned is not None:
            chosen.setdefault(state.tuned.study, set()).add(state.tuned.best)
    by_study: dict[str, list[Trial]] = {study: [] for study in store.studies(sweep)}
    for trial in store.trials(by_study):
        known = by_study[trial.study]
        if trial.number == len(known) and (trial.job_id is None or trial.job_id in states):
            known.append(trial)  # up to the first whose job is not in the sweep
    found, tune = [], _tune(store.spec(sweep))
    for study, trials in by_study.items():
        jobs = [states[one.job_id] for one in trials if one.job_id is not None]
        if not jobs:
            continue  # of an earlier spec: only a later trial asked for a job that is still in the sweep
        job = jobs[0]
        reports = tuple(_trial(one, states) for one in trials)
        objectives = trials[0].objectives or (SCORE,)
        front = _front(reports, objectives, chosen.get(study))
        best = next(iter(front), None)
        found.append(
            StudyReport(
                study,
                job.row.removeprefix(SEARCH_ROW),
                job.job.backbone.name,
                job.job.dataset.name,
                reports,
                best,
                best.number if best is not None and study in chosen else None,
                objectives,
                front,
                f"val_{PRIMARY[job.job.dataset.task]}",
                study in chosen or _is_used_up(tune, reports),
            )
        )
    return found


def totals(reports: list[StudyReport]) -> str:
    """One line: studies, trials by how they ended, epochs saved by pruning."""
    trials = [one for report in reports for one in report.trials]
    over = sum(report.chosen is not None for report in reports)
    ends = [
        f"{number} {state}" for state in (PRUNED, DIVERGED, FAILED) if (number := sum(r.count(state) for r in reports))
    ]
    saved, planned = (sum(getattr(r, name) for r in reports) for name in ("epochs_saved", "epochs_planned"))
    pruning = f"; pruning saved {saved} of {planned} epochs ({100 * saved / planned:.0f} %)" if saved else ""
    said = f" ({', '.join(ends)})" if ends else ""
    return f"tuning: {over} of {len(reports)} studies have chosen; {len(trials)} trials{said}{pruning}"


def _front(
    reports: Sequence[TrialReport], objectives: tuple[str, ...], chosen: Container[int] | None
) -> tuple[Best, ...]:
    """Of the trials that final jobs are made of, where there are some; else of those that have ended by now."""
    outcomes, jobs = [one.outcome for one in reports], [one.trial.job_id for one in reports]
    front = front_of(outcomes, objectives, jobs)
    if chosen is None or {best.number for best in front} == chosen:
        return front
    # Final jobs of an earlier spec's budget, or of trials that were tried again since: they stand for what they are.
    values = {number: one.values(objectives) for number, one in enumerate(outcomes) if one is not None}
    found = [Best(number, ()) for number in values if number in chosen]
    return tuple(sorted(found, key=lambda one: -(values[one.number] or (0.0,))[0]))


def _tune(spec: str) -> Tune | None:
    """What the sweep's spec says of its searches; None where it says nothing, or this version cannot read it."""
    try:
        return parse_spec(spec).tune
    except SpecError:
        return None


def _is_used_up(tune: Tune | None, reports: Sequence[TrialReport]) -> bool:
    """Whether no trial is to come, as far as a spec without a budget in hours tells."""
    if tune is None or tune.trials is None or tune.hours is not None or tune.gpu_hours is not None:
        return False
    budget = tune.trials
    if tune.sampler == "grid":
        budget = min(budget, grid_size(space_of([one.trial for one in reports], written_space(tune.space))))
    return len(reports) >= budget and all(one.state in (DONE, PRUNED, DIVERGED, FAILED) for one in reports)


def _trial(trial: Trial, states: Mapping[str, JobState]) -> TrialReport:
    if trial.job_id is None:
        return TrialReport(trial, FAILED, Outcome(FAILED), 0, 0, trial.refusal)
    job = states[trial.job_id]
    planned, result = job.job.recipe.epochs, job.result
    trained, end = _trained(job), trial.end
    if end is not None and end.pruned_after is not None:  # for its study, whatever the job did since
        return TrialReport(
            trial, PRUNED, Outcome(PRUNED), max(trained, end.pruned_after), planned, "", end.pruned_after
        )
    if result is None or not job.status.is_finished:
        is_lost = job.status.is_finished
        state, reason = (FAILED, "ended without a result") if is_lost else (str(job.status), "")
        return TrialReport(trial, state, None, 0, planned, reason)
    if job.status is Status.DONE:
        violation = violation_of(trial.bound, result.metrics)
        return TrialReport(trial, DONE, Outcome(DONE, result.metrics, violation=violation), planned, planned)
    if job.status is Status.PRUNED:
        return TrialReport(trial, PRUNED, Outcome(PRUNED), trained, planned, pruned_after=trained)
    failure = result.failure
    state = DIVERGED if failure is not None and failure.failure_class is FailureClass.DIVERGED else FAILED
    reason = "ended without a reason" if failure is None else failure.message or str(failure.failure_class)
    return TrialReport(trial, state, Outcome(state), 0, planned, reason)


def _trained(state: JobState) -> int:
    """Epochs, as far as its last end tells."""
    if state.status is Status.DONE:
        return state.job.recipe.epochs
    if state.status is Status.PRUNED and state.result is not None:
        return int(state.result.facts.get(PRUNED_AFTER, 0))
    return 0
