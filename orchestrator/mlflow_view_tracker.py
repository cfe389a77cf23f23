"""What the view asks of MLflow, so that asking twice is asking once. The only module that imports mlflow."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import requests
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.mlflow_view_locks import locked
from orchestrator.mlflow_view_process import ARTIFACTS, without_password
from orchestrator.mlflow_view_records import KIND, PREFIX, PRIMARY_METRIC, STORE, VERSION, Point, RunRecord
from storage.records import DatasetRef
from storage.records.whole import write_whole, written_whole

_PER_BATCH = 500  # metrics a request; MLflow takes 1000, in a second
_PER_PAGE = 1000
_OF_THE_RUN = frozenset(
    {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE", "BAD_REQUEST"}
)
_EXPERIMENT_TAGS = {
    "mlflow.experiment.primaryMetric.name": PRIMARY_METRIC,
    "mlflow.experiment.primaryMetric.greaterIsBetter": "True",
    "mlflow.experimentKind": "custom_model_development",  # else the UI asks what kind it is
    "mlflow.note.content": "Runs of Sweepboard. Filter: ``tags.`sweepboard.kind` = 'job'`` (or 'summary', 'parent').",
}


class TrackerError(Exception):
    """Base of what goes wrong with MLflow.

    TrackerError
    ├── TrackerUnavailable   it does not answer, or not in time: the same again later
    └── TrackerRefuses       it answers, and does not take this run: another run may be fine
    """


class TrackerUnavailable(TrackerError):
    """MLflow does not answer, or not in time."""


class TrackerRefuses(TrackerError):
    """MLflow does not take what was sent."""


@dataclass(frozen=True)
class ShownRun:
    """A run as MLflow has it. `start_ms` is the origin of its metrics' times."""

    run_id: str
    start_ms: int
    status: str
    artifact_uri: str
    tags: Mapping[str, str]
    params: Mapping[str, str]


class Tracker:
    """One MLflow tracking store, seen from one Sweepboard store (`store_id`: others may write there too)."""

    def __init__(self, uri: str, home: Path, store_id: str) -> None:
        """Makes and migrates the database of a SQLite address first, one process at a time.

        Raises TrackerUnavailable."""
        self._uri, self._home, self._store_id = uri, home, store_id
        self._experiments: dict[str, str] = {}
        prepare_database(uri, home)
        with _talking(uri):
            self._client = MlflowClient(uri)

    def forget(self) -> None:
        """Ask again what was believed to be there."""
        self._experiments.clear()

    def experiments(self) -> dict[str, str]:
        """Name -> what tells it from another one of that name, of all experiments that views have made."""
        with _talking(self._uri):
            found = self._client.search_experiments(ViewType.ALL, filter_string=f"name LIKE '{PREFIX}/%'")
        return {one.name: f"{one.experiment_id}@{one.creation_time}" for one in found}

    def ensure(self, record: RunRecord, start_s: float) -> ShownRun:
        """The run of that record, made if it is not there; runs that it supersedes are deleted (MLflow keeps those
        under "Deleted"). `start_s`: since the Unix epoch, of a new run."""
        with _talking(self._uri):
            present, stale = None, []
            for run in self._find(record):
                if present is None and _matches(run, record):
                    present = run
                else:
                    stale.append(run)
            for run in stale:
                self._client.delete_run(run.run_id)
            return present or self._create(record, start_s)

    def find(self, record: RunRecord) -> ShownRun | None:
        """The run of that record if there is one, of any version."""
        with _talking(self._uri):
            return next(iter(self._find(record)), None)

    def _find(self, record: RunRecord) -> list[ShownRun]:
        """Oldest first: of two that were made at once every view keeps the same one."""
        wanted = f"tags.`{record.key_tag}` = '{record.key}' and tags.`{STORE}` = '{self._store_id}'"
        runs = self._client.search_runs([self._experiment(record.experiment)], wanted)
        return [_shown(run) for run in sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))]

    def _create(self, record: RunRecord, start_s: float) -> ShownRun:
        own = {record.key_tag: record.key, KIND: record.kind, STORE: self._store_id, VERSION: record.version}
        run = self._client.create_run(
            self._experiment(record.experiment),
            start_time=int(start_s * 1000),
            tags={**record.tags, **own},
            run_name=record.name,
        )
        return _shown(run)

    def log(self, run: ShownRun, points: Sequence[Point], record: RunRecord | None, tags: Mapping[str, str]) -> None:
        """Write points, the record's parameters and tags. What is there already stays as it is."""
        metrics = [Metric(one.name, one.value, run.start_ms + int(one.at_s * 1000), one.step) for one in points]
        lacking = {} if record is None else {**record.params}
        params = [Param(name, value) for name, value in lacking.items() if name not in run.params]
        wanted = {**({} if record is None else record.tags), **tags}
        changed = [RunTag(name, value) for name, value in wanted.items() if run.tags.get(name) != value]
        with _talking(self._uri):
            while metrics or params or changed:
                self._client.log_batch(run.run_id, metrics[:_PER_BATCH], params[:100], changed[:100])
                metrics, params, changed = metrics[_PER_BATCH:], params[100:], changed[100:]

    def log_dataset(self, run: ShownRun, dataset: DatasetRef, split: str) -> None:
        """Name the data set as an input of the run; its digest is the hash of the data."""
        source = f'{{"dataset": "{dataset.name}", "data_hash": "{dataset.data_hash}"}}'
        entity = Dataset(dataset.name, dataset.data_hash[:36], PREFIX, source)
        with _talking(self._uri):
            tag = InputTag("mlflow.data.context", split)
            self._client.log_inputs(run.run_id, [DatasetInput(entity, [tag])])

    def log_text(self, run: ShownRun, text: str, name: str) -> None:
        """Keep a text as an artifact."""
        folder = self._own_folder(run)
        with _talking(self._uri):
            if folder is None:
                self._client.log_text(run.run_id, text, name)
            else:
                write_whole(folder / name, text)

    def log_file(self, run: ShownRun, path: Path, group: str) -> None:
        """Keep a file as an artifact; in the home it is linked, not copied."""
        folder = self._own_folder(run)
        with _talking(self._uri):
            if folder is None:
                self._client.log_artifact(run.run_id, str(path), group)
            else:
                _link(path, folder / group / path.name)

    def _own_folder(self, run: ShownRun) -> Path | None:
        """Where the run's artifacts lie, if that is in the home: a server's paths are those of its own machine."""
        parts = urlsplit(run.artifact_uri)
        return Path(unquote(parts.path)) if self._uri.startswith("sqlite") and parts.scheme in ("", "file") else None

    def end(self, run: ShownRun, status: str, end_s: float) -> None:
        """Set the final status. `end_s`: since the Unix epoch."""
        with _talking(self._uri):
            self._client.set_terminated(run.run_id, status, end_time=max(run.start_ms, int(end_s * 1000)))

    def reopen(self, run: ShownRun) -> None:
        """It runs again, or still."""
        with _talking(self._uri):
            self._client.update_run(run.run_id, status="RUNNING")

    def search(self, wanted: str) -> list[ShownRun]:
        """Runs of this store, in all experiments, that fit the filter."""
        ids = [one.rpartition("@")[0] for one in self.experiments().values()]
        found: list[ShownRun] = []
        token: str | None = None
        query = f"tags.`{STORE}` = '{self._store_id}' and {wanted}"
        with _talking(self._uri):
            while ids:
                page = self._client.search_runs(ids, query, max_results=_PER_PAGE, page_token=token)
                found += [_shown(run) for run in page]
                token = page.token
                if not token:
                    break
        return found

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name) or self._new_experiment(name)
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)  # MLflow allows no second one of that name
            for key, value in _EXPERIMENT_TAGS.items():
                if key not in found.tags:
                    self._client.set_experiment_tag(found.experiment_id, key, value)
            self._experiments[name] = found.experiment_id
        return self._experiments[name]

    def _new_experiment(self, name: str) -> Experiment:
        local = (self._home / ARTIFACTS / name.partition("/")[2]).absolute().as_uri()
        try:
            place = local if self._uri.startswith("sqlite") else None  # a server decides for itself
            self._client.create_experiment(name, place, _EXPERIMENT_TAGS)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # else somebody else was quicker
                raise
        found = self._client.get_experiment_by_name(name)
        if found is None:
            raise TrackerUnavailable(f"MLflow made the experiment {name!r} and does not find it")
        return found


def prepare_database(uri: str, home: Path) -> None:
    """Make a SQLite database, one process at a time: two that do it at once break each other's migration.

    It appears whole: one whose making was killed half-way could never be opened again. Does nothing for servers and
    for databases that are there. Raises TrackerUnavailable.
    """
    if not uri.startswith("sqlite"):
        return
    path = Path(urlsplit(uri).path.removeprefix("/"))
    with _talking(uri), locked(home / "mlflow" / "database.lock"):
        if path.exists():
            return
        for abandoned in path.parent.glob(f".{path.name}.*"):
            abandoned.unlink()
        with written_whole(path) as unfinished:
            MlflowClient(f"sqlite:///{unfinished}").search_experiments(max_results=1)
            with closing(sqlite3.connect(unfinished)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # for good: the UI reads while the view writes


@contextmanager
def _talking(uri: str) -> Iterator[None]:
    """MLflow's errors as ours."""
    try:
        yield
    except MlflowException as error:
        kind = TrackerRefuses if error.error_code in _OF_THE_RUN else TrackerUnavailable
        raise kind(f"MLflow at {without_password(uri)}: {_first_line(error)}") from error
    except (requests.RequestException, SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise TrackerUnavailable(f"MLflow at {without_password(uri)}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:500]


def _matches(run: ShownRun, record: RunRecord) -> bool:
    """Parameters cannot be changed: a run with another value of one is superseded too."""
    same = all(run.params.get(name, value) == value for name, value in record.params.items())
    return run.tags.get(VERSION) == record.version and same


def _shown(run: Run) -> ShownRun:
    info, data = run.info, run.data
    return ShownRun(info.run_id, info.start_time, info.status, info.artifact_uri, dict(data.tags), dict(data.params))


def _link(path: Path, place: Path) -> None:
    if place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, place)
    except OSError:  # another disk, or one without links
        shutil.copyfile(path, place)
