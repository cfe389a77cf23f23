"""An Optuna database of a search: read back by Optuna, it says what the store says."""

import sqlite3
import warnings
from contextlib import closing
from datetime import datetime

import optuna
import pytest
from optuna.trial import TrialState

from orchestrator.errors import UsageError
from orchestrator.tuning.optuna_export import export_studies
from orchestrator.tuning.study_record import study_records
from storage.records import Status
from tests.orchestrator.tuning.searches import EPOCHS, SPACE, Killed, Search, spec_text

STATES = {"done": "COMPLETE", "pruned": "PRUNED", "diverged": "FAIL", "failed": "FAIL"}


def exported(one, file):
    """The names of the studies, and the studies as Optuna reads them."""
    names = export_studies("s", study_records(one.store, "s"), file)
    storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
        found = [(study.study_name, study.user_attrs, study.metric_names, study.trials) for study in studies]
    storage.engine.dispose()
    return found


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    one = Search(spec_text(f"trials: 24, {SPACE}"), tmp_path_factory.mktemp("search"))
    one.drive()
    yield one
    one.store.close()


def test_every_trial_is_there_with_values_curve_end_and_times(ended, tmp_path):
    records = study_records(ended.store, "s")
    assert {trial.report.state for record in records for trial in record.trials} == {"done", "pruned", "diverged"}
    found = exported(ended, tmp_path / "s.db")
    for record, (name, attrs, metrics, trials) in zip(records, found, strict=True):
        assert name == f"gps | nano_vit | {record.report.dataset} | {record.report.study}"
        assert (attrs["sweepboard_sweep"], attrs["chosen"]) == ("s", record.report.chosen)
        assert metrics == ["val_top1_pct"]
        assert len(trials) == 24
        for one, trial in zip(record.trials, trials, strict=True):
            assert trial.number == one.number
            assert trial.params == one.report.trial.params
            assert trial.state.name == STATES[one.report.state]
            assert trial.intermediate_values == dict(one.curve)
            assert trial.user_attrs["job_id"] == one.report.trial.job_id
            assert trial.duration.total_seconds() == pytest.approx(one.ended_s - one.began_s, abs=1e-5)
            assert trial.datetime_start == datetime.fromtimestamp(one.began_s)
            if trial.state is TrialState.COMPLETE:
                assert trial.value == one.score == trial.intermediate_values[EPOCHS]
                assert trial.user_attrs["val_loss"] == one.outcome.metrics["val_loss"]


def test_distributions_are_the_domains_of_the_spec(ended, tmp_path):
    _, _, _, trials = exported(ended, tmp_path / "s.db")[0]
    assert trials[0].distributions == {
        "train.lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
        "gps.connections_per_neuron": optuna.distributions.IntDistribution(1, 15),
    }


def test_the_chosen_trial_is_marked_and_so_are_its_ties_and_reasons(ended, tmp_path):
    for record, (_, _, _, trials) in zip(
        study_records(ended.store, "s"), exported(ended, tmp_path / "s.db"), strict=True
    ):
        report = record.report
        assert [one.number for one in trials if one.user_attrs.get("chosen")] == [report.chosen]
        tied = [one.number for one in trials if one.user_attrs.get("tie")]
        assert tied == (sorted([report.chosen, *report.best.tied]) if report.best.tied else [])
        assert all(one.user_attrs["reason"] for one in trials if one.state is TrialState.FAIL)
        assert all(one.user_attrs["ended"] == "diverged" for one in trials if one.state is TrialState.FAIL)


def test_a_constraint_is_told_as_optuna_tells_it(search, tmp_path):
    one = search(tune=f"trials: 6, pruner: none, constraint: trainable_params <= 500, {SPACE}")
    one.drive()
    _, _, _, trials = exported(one, tmp_path / "s.db")[0]
    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert finished
    assert all(trial.constraints == {"bound": pytest.approx(1.0)} for trial in finished)  # 1000 is twice the bound
    assert all(trial.user_attrs["bound"] == "trainable_params <= 500" for trial in trials)


def test_what_has_not_ended_is_running_and_keeps_its_number(search, tmp_path):
    one = search(tune=f"trials: 12, parallel: 4, {SPACE}")
    with pytest.raises(Killed):
        one.drive(kill_after=60)
    found = exported(one, tmp_path / "s.db")
    trials = [trial for _, _, _, trials in found for trial in trials]
    running = [trial for trial in trials if trial.state is TrialState.RUNNING]
    open_jobs = {state.job.job_id for status in Status if not status.is_finished for state in one.states(status)}
    assert {trial.user_attrs["job_id"] for trial in running} == open_jobs != set()
    assert all(trial.datetime_complete is None for trial in running)


def rows(file):
    with closing(sqlite3.connect(file)) as found:
        names = [name for (name,) in found.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
        return {name: found.execute(f"SELECT * FROM {name}").fetchall() for name in names}


def test_twice_is_the_same_content_and_replaces_the_first(ended, tmp_path):
    export_studies("s", study_records(ended.store, "s"), tmp_path / "a.db")
    before = rows(tmp_path / "a.db")
    export_studies("s", study_records(ended.store, "s"), tmp_path / "a.db")
    assert rows(tmp_path / "a.db") == before
    assert [path.name for path in tmp_path.glob("*a.db*")] == ["a.db"]


def test_a_file_of_somebody_else_is_left_alone(ended, tmp_path):
    records = study_records(ended.store, "s")
    (tmp_path / "text.db").write_text("mine")
    (tmp_path / "empty.db").touch()
    theirs = tmp_path / "theirs.db"
    export_studies("s", records, theirs)
    storage = optuna.storages.RDBStorage(f"sqlite:///{theirs}")
    optuna.create_study(storage=storage, study_name="mine")
    storage.remove_session()
    storage.engine.dispose()
    for file in ("text.db", "empty.db", "theirs.db"):
        before = (tmp_path / file).read_bytes()
        with pytest.raises(UsageError, match=rf"{file} exists and is no earlier export of ours"):
            export_studies("s", records, tmp_path / file)
        assert (tmp_path / file).read_bytes() == before


def test_a_place_that_cannot_be_written_is_named(ended, tmp_path):
    (tmp_path / "file").touch()
    records = study_records(ended.store, "s")
    with pytest.raises(UsageError, match="cannot be written"):
        export_studies("s", records, tmp_path / "file" / "s.db")
    with pytest.raises(UsageError, match="cannot have a"):
        export_studies("s", records, tmp_path / "why?" / "s.db")
    assert exported(ended, tmp_path / "50 % of #1" / "s.db")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["50 % of #1", "file"]
