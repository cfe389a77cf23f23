"""The tuner guides the loop: it asks for trials, hears how they end, and adds the final jobs. Only the driver has one.

Everything it knows is in the store: trials, their jobs and results. A new tuner on the same store goes on with the
same trials.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Sequence
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec

from orchestrator.errors import UsageError
from orchestrator.tuning.cells import Cell
from orchestrator.tuning.front_rows import front_rows
from orchestrator.tuning.study_run import StudyRun
from orchestrator.tuning.warm import Offer
from storage.records import EpochMetrics, Result, Status, Trial
from storage.records.tuned import ASKED_BY
from storage.store import Entry, Store

log = logging.getLogger(__name__)


class Tuner:
    """Guides one sweep (see orchestrator.guide.Guide). Raises UsageError where Optuna is not installed."""

    def __init__(self, store: Store, sweep: str, cells: Sequence[Cell]) -> None:
        if cells:
            _require_optuna()
        self._store, self._sweep = store, sweep
        self._engine = version("optuna") if cells else ""
        recorded = store.trials(cell.study for cell in cells)
        others = {str(one.attrs[ASKED_BY]) for one in recorded if ASKED_BY in one.attrs} - {self._engine}
        if others:
            log.warning(
                "%s: its trials so far are by Optuna %s, further ones by %s, which may ask for others",
                sweep,
                ", ".join(sorted(others)),
                self._engine,
            )
        self.studies = [StudyRun(cell, [one for one in recorded if _is_of(one, cell)]) for cell in cells]
        self._by_id = {study.cell.study: study for study in self.studies}
        self._makers: dict[str, list[str]] = {}  # job id -> ids of the jobs that make what it needs
        self._catch_up(self.studies)

    @property
    def words(self) -> str:
        """How many studies there are, for how long, and what is known of them."""
        known = sum(len(study.trials) for study in self.studies)
        budgets = dict.fromkeys(study.cell.budget for study in self.studies)
        studies = "1 study" if len(self.studies) == 1 else f"{len(self.studies)} studies"
        return f"{studies}, each for {' or '.join(budgets)}; {known} trials known"

    def members(self) -> list[Entry]:
        """The entries that the sweep has by now: trials asked in earlier runs, and final jobs of finished studies."""
        found = [
            entry
            for study in self.studies
            for trial in study.trials
            if trial.job_id is not None
            for entry in study.cell.trial_entries(trial.number, study.cell.trial(trial.params))
        ]
        for study in self.studies:
            found += self._finals(study)
        return found

    def more(self) -> Sequence[Entry]:
        """See Guide. One pass: outcomes, then new trials until every study waits, then final jobs."""
        self._catch_up(self.studies)
        joined: list[Entry] = []
        for study in self.studies:
            if not all(self._is_settled(sibling) for sibling in self._siblings(study)):
                continue  # of a later wave
            while study.may_ask:
                joined += self._ask(study)
                self._catch_up([study])  # what is asked may be known already
        for study in self.studies:
            finals = self._finals(study)
            if finals:
                self._store.extend(self._sweep, finals)
                joined += finals
        return joined

    def stops(self, job_id: str, epoch: EpochMetrics) -> bool:
        """See Guide. A job that several studies wait for goes on as long as one of them wants it."""
        concerned = [study for study in self.studies if job_id in study.waiting]
        return bool(concerned) and all([study.stops(job_id, epoch) for study in concerned])

    def excused(self) -> int:
        """Trials may fail, as long as their study finds values."""
        ids = {one.job_id for study in self.studies if study.best is not None for one in study.trials}
        known = self._store.known(job_id for job_id in ids if job_id is not None)
        return sum(status is Status.FAILED for status in known.values())

    def owed(self) -> int:
        """See Guide: one for each study whose final jobs have not joined, or that found no values for them."""
        return sum(not study.finals for study in self.studies)

    def to_come(self) -> int:
        """See Guide: trials of the budget that are not asked, and the final jobs of studies that are not over."""
        return sum(study.to_come for study in self.studies)

    @property
    def is_finished(self) -> bool:
        """Every study is over, and all jobs that they led to are finished."""
        if any(study.finals is None for study in self.studies):
            return False
        ids = {job_id for study in self.studies for job_id in study.finals or ()}
        known = self._store.known(ids)
        return len(known) == len(ids) and all(status.is_finished for status in known.values())

    def _siblings(self, study: StudyRun[Cell]) -> list[StudyRun[Cell]]:
        return [self._by_id[cell.study] for cell in study.cell.siblings]

    def _offers(self, study: StudyRun[Cell]) -> list[Offer]:
        """What its siblings have found; nothing of one that is not over, whatever it has found so far."""
        return [
            Offer(one.trials[one.best.number].params, one.cell.study, one.best.number, one.cell.point.dataset.name)
            for one in self._siblings(study)
            if one.is_over and one.best is not None
        ]

    def _is_settled(self, study: StudyRun[Cell]) -> bool:
        """Whether nothing more is to be expected of it: it is over, or what its jobs need could not be made."""
        if study.is_over:
            return True
        for job_id in study.waiting:
            if job_id not in self._makers:
                job, maker = self._store.job(job_id).job, study.cell.searching
                self._makers[job_id] = [maker.prepare_job(job, key).job_id for key in job.needs]
        made = self._store.known(maker for job_id in study.waiting for maker in self._makers[job_id])
        return not {Status.FAILED, Status.CANCELLED}.isdisjoint(made.values())

    def _ask(self, study: StudyRun[Cell]) -> list[Entry]:
        """Record the next trial; the entries of its job."""
        trial = study.ask(self._offers(study))
        trial = replace(trial, attrs={**trial.attrs, ASKED_BY: self._engine})
        entries = study.cell.trial_entries(trial.number, study.cell.trial(trial.params))
        (recorded,) = self._store.extend(self._sweep, entries, [trial])
        if recorded.job_id != trial.job_id:  # another driver's version asked for something else first
            entries = study.cell.trial_entries(recorded.number, study.cell.trial(recorded.params))
            self._store.extend(self._sweep, entries)
        study.add(recorded)
        return entries

    def _finals(self, study: StudyRun[Cell]) -> list[Entry]:
        """The final jobs of a study that is over, once."""
        if study.finals is not None or not study.is_over:
            return []
        front = study.front
        if not front:
            study.finals = ()
            why = "kept the constraint" if study.is_bound_too_low else "brought values to go on with"
            log.warning("%s: no trial of %s %s", self._sweep, _named(study), why)
            return []
        points = [study.trials[best.number].params for best in front]
        names = front_rows(study.cell.row, points) if study.cell.tune.has_front else [study.cell.row]
        entries: dict[str, Entry] = {}  # points of a front share what is prepared and, at one cost, measured
        for best, params, name in zip(front, points, names, strict=True):
            tuned = study.cell.tuned(len(study.trials), best.number, len(best.tied))
            for entry in study.cell.final_entries(params, tuned):
                entries.setdefault(entry.job.job_id, _renamed(entry, study.cell.row, name))
            if best.tied:
                tied = ", ".join(str(number) for number in best.tied)
                log.info("%s: trial %d ties with %s; taken by loss, size, number", _named(study), best.number, tied)
        study.finals = tuple(entries)
        return list(entries.values())

    def _catch_up(self, studies: Sequence[StudyRun[Cell]]) -> None:
        """Tell what has ended, in the order of the trials, until nothing more can be told."""
        waiting = list(studies)
        while waiting:
            asked = {job_id for study in waiting for job_id in study.next_to_tell()}
            known = self._store.known(asked)
            ended = {job_id for job_id, status in known.items() if status.is_finished}
            waiting = [study for study in waiting if self._tell(study, ended)]

    def _tell(self, study: StudyRun[Cell], ended: Container[str]) -> bool:
        """Whether there was anything to tell this study."""
        ready = [job_id for job_id in study.next_to_tell() if job_id in ended]
        for job_id in ready:
            state = self._store.job(job_id)
            recorded = study.ended(job_id, state.result or Result(job_id=job_id, status=state.status))
            if recorded is None:
                self._store.set_status([job_id], Status.PENDING)
            elif recorded:
                self._store.end_trials(recorded)
        return bool(ready)


def _is_of(trial: Trial, cell: Cell) -> bool:
    """A smaller budget than before leaves later trials out."""
    return trial.study == cell.study and (cell.tune.trials is None or trial.number < cell.tune.trials)


def _renamed(entry: Entry, row: str, name: str) -> Entry:
    """The entry of a point of a front: its own row's name takes what the point's has beside the cell's."""
    return entry if entry.tuned is None else replace(entry, row=f"{entry.row}{name.removeprefix(row)}")


def _named(study: StudyRun[Cell]) -> str:
    point = study.cell.point
    return f"{point.row} on {point.backbone.ref.name}, {point.dataset.name}"


def _require_optuna() -> None:
    """It loads with the first study."""
    try:
        found = find_spec("optuna")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise UsageError("tuning needs Optuna: pip install 'sweepboard[tune]'")
