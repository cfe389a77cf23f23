"""A study with all that the store has of it: spaces, curves, times, reasons. What figures, importances and exports are
made of; `tuning.report` is enough for the rest and quicker."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from methods.api import Domain
from orchestrator.tuning.outcomes import PRUNED, Outcome, curve_of
from orchestrator.tuning.report import StudyReport, TrialReport, study_reports
from orchestrator.tuning.spaces import space_of, spec_space
from storage.snapshot import KeptJob
from storage.store import Store


@dataclass(frozen=True)
class TrialRecord:
    """`curve`: (epoch, validation score), as far as the trial trained. `began_s`, `ended_s`: the attempt that ended it,
    in seconds since the Unix epoch; None where there is none. `reason`: why it brought no number."""

    report: TrialReport
    curve: tuple[tuple[int, float], ...] = ()
    began_s: float | None = None
    ended_s: float | None = None
    reason: str = ""

    @property
    def number(self) -> int:
        return self.report.trial.number

    @property
    def outcome(self) -> Outcome | None:
        return self.report.outcome

    @property
    def score(self) -> float | None:
        """Of a trial that was trained to its end; None of all others."""
        return None if self.outcome is None else self.outcome.score

    @property
    def is_feasible(self) -> bool:
        return self.outcome is not None and self.outcome.is_feasible

    @property
    def last_seen(self) -> float | None:
        """The score of a pruned trial when it was stopped."""
        return self.curve[-1][1] if self.report.state == PRUNED and self.curve else None


@dataclass(frozen=True)
class StudyRecord:
    """One study of a sweep; `space` has every parameter of its trials."""

    report: StudyReport
    space: Mapping[str, Domain]
    trials: tuple[TrialRecord, ...]

    @property
    def title(self) -> str:
        return f"{self.report.row} | {self.report.backbone} | {self.report.dataset}"

    @property
    def finished(self) -> tuple[TrialRecord, ...]:
        """Trials with a score."""
        return tuple(one for one in self.trials if one.score is not None)


def study_records(store: Store, sweep: str) -> list[StudyRecord]:
    """Every study of the sweep, as `study_reports` has them. Raises UnknownSweep."""
    reports = study_reports(store, sweep)
    if not reports:
        return []
    kept = {one.job.job_id: one for one in store.snapshot([sweep]).jobs}
    written = spec_space(store.spec(sweep))
    return [
        StudyRecord(
            report,
            space_of([one.trial for one in report.trials], written),
            tuple(_record(one, kept) for one in report.trials),
        )
        for report in reports
    ]


def _record(one: TrialReport, kept: Mapping[str, KeptJob]) -> TrialRecord:
    if one.trial.job_id is None:
        return TrialRecord(one, reason=one.reason)
    job = kept.get(one.trial.job_id)
    if job is None or job.result is None or job.attempt is None or one.outcome is None:
        return TrialRecord(one, reason=one.reason)
    last = math.inf if one.pruned_after is None else one.pruned_after
    curve = tuple(point for point in curve_of(job.result.epochs) if point[0] <= last)
    attempt = job.attempt
    began_s = attempt.leased_s if attempt.started_s is None else attempt.started_s
    return TrialRecord(one, curve, began_s, attempt.ended_s, one.reason)
