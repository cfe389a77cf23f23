"""Studies of a sweep as an Optuna database (SQLite), for optuna-dashboard and whatever else reads one.

A copy to look at: the truth stays in the store, and nothing is read back. Equal studies are written equal.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.tuning.optuna_study import distributions
from orchestrator.tuning.outcomes import DIVERGED, DONE, FAILED, LOSS, PRUNED, is_maximised
from orchestrator.tuning.study_record import StudyRecord, TrialRecord
from storage.records.whole import written_whole

if TYPE_CHECKING:
    import optuna

_MARK = "sweepboard_sweep"
"""The attribute that says whose a study is: a file with any other study in it is not ours to replace."""

_OURS = f"SELECT study_id FROM study_user_attributes WHERE key = '{_MARK}'"
_COUNTS = f"SELECT count(*), sum(study_id IN ({_OURS})) FROM studies"


def export_studies(sweep: str, studies: Sequence[StudyRecord], file: Path) -> list[str]:
    """Write the database whole, or leave what was there; the names of the studies.

    Raises UsageError where the file is somebody else's or cannot be written.
    """
    from optuna.exceptions import StorageInternalError

    _refuse_foreign(file)
    try:
        with written_whole(file) as temporary:
            return _write(sweep, studies, temporary)
    except OSError as error:
        raise UsageError(f"--to {file} cannot be written ({error.strerror}); choose another place") from None
    except StorageInternalError as error:  # the disk is full, the folder knows no locks …
        raise UsageError(f"--to {file} cannot be written ({error.__cause__ or error}); choose another place") from None


def _refuse_foreign(file: Path) -> None:
    if "?" in str(file.absolute()):
        raise UsageError(f"--to {file}: an address of Optuna's cannot have a ? in it; choose another place")
    if not file.exists():
        return
    refusal = UsageError(f"--to {file} exists and is no earlier export of ours; choose another name, or move it away")
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as found:
            studies, ours = found.execute(_COUNTS).fetchone()
    except sqlite3.Error:
        raise refusal from None
    if not ours or ours < studies:
        raise refusal


def _write(sweep: str, studies: Sequence[StudyRecord], file: Path) -> list[str]:
    import optuna
    from sqlalchemy import event

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file.touch()  # an unwritable folder is found here, as an OSError
    storage = optuna.storages.RDBStorage(f"sqlite:///{file.absolute()}")
    storage.engine.dispose()  # of the connection that made the tables
    event.listen(storage.engine, "connect", lambda made, _: made.execute("PRAGMA synchronous = OFF"))  # whole or not
    try:
        return [_add(sweep, study, storage) for study in studies]
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _add(sweep: str, study: StudyRecord, storage: optuna.storages.RDBStorage) -> str:
    import optuna

    report = study.report
    name = f"{study.title} | {report.study}"
    to = optuna.study.StudyDirection
    directions = [to.MAXIMIZE if is_maximised(one) else to.MINIMIZE for one in report.objectives]
    made = optuna.create_study(storage=storage, study_name=name, directions=directions)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # counts as experimental
        made.set_metric_names(list(report.named_objectives))
    said = {"study": report.study, "row": report.row, "backbone": report.backbone, "dataset": report.dataset}
    chosen = {} if report.chosen is None else {"chosen": report.chosen}
    for key, value in ({_MARK: sweep} | said | chosen).items():
        made.set_user_attr(key, value)
    space, ended_s = distributions(study.space), _first_s(study)
    for trial in study.trials:
        made.add_trial(_frozen(study, trial, space, ended_s))
        ended_s = trial.ended_s or ended_s
    return name


def _first_s(study: StudyRecord) -> float:
    """When the study began, as far as it is known."""
    return min((one.began_s for one in study.trials if one.began_s is not None), default=0.0)


def _frozen(study: StudyRecord, one: TrialRecord, space: dict[str, Any], before_s: float) -> optuna.trial.FrozenTrial:
    """The trial as Optuna keeps it. One without an attempt of its own has the time at which the trial before it had
    ended: that is when it was asked."""
    from optuna.trial import FrozenTrial, TrialState

    failed = TrialState.FAIL
    states = {DONE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, DIVERGED: failed, FAILED: failed}
    state = states.get(one.report.state, TrialState.RUNNING)
    began_s = before_s if one.began_s is None else one.began_s
    ended_s = began_s if one.ended_s is None else one.ended_s
    trial, violation = one.report.trial, None if one.outcome is None else one.outcome.violation
    frozen = FrozenTrial(
        number=one.number,
        state=state,
        value=None,
        values=_values(study, one) if state.is_finished() else None,
        datetime_start=datetime.fromtimestamp(began_s),  # local time, as Optuna notes it
        datetime_complete=datetime.fromtimestamp(ended_s) if state.is_finished() else None,
        params=dict(trial.params),
        distributions={name: space[name] for name in trial.params},
        user_attrs=_said(study, one),
        system_attrs=dict(trial.attrs),
        intermediate_values=dict(one.curve),
        trial_id=-1,
    )
    if violation is not None:
        frozen.set_constraint("bound", violation)
    return frozen


def _values(study: StudyRecord, one: TrialRecord) -> list[float] | None:
    """What it reached in each objective; of a pruned trial its last score."""
    if one.last_seen is not None:
        return [one.last_seen]
    values = None if one.outcome is None else one.outcome.values(study.report.objectives)
    return None if values is None else list(values)


def _said(study: StudyRecord, one: TrialRecord) -> dict[str, Any]:
    """What Optuna has no place for. Nothing that is not so is written."""
    report, trial = study.report, one.report.trial
    metrics = {} if one.outcome is None else one.outcome.metrics
    bound = None if trial.bound is None else f"{trial.bound[0]} <= {trial.bound[1]:g}"
    ties = [{best.number, *best.tied} for best in report.front if best.tied]
    said: dict[str, Any] = {
        "job_id": trial.job_id,
        "ended": one.report.state,
        "reason": one.reason or None,
        LOSS: metrics.get(LOSS),
        "bound": bound,
        "tie": any(one.number in tie for tie in ties),
        "chosen": report.chosen is not None and one.number in [best.number for best in report.front],
    }
    return {key: value for key, value in said.items() if value is not None and value is not False}
