"""What MLflow shows, read back for comparison."""

import json

import pytest

pytest.importorskip("mlflow", reason="mlflow is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own

from mlflow.entities import ViewType  # noqa: E402


def runs(client, kind="job", view_type=ViewType.ACTIVE_ONLY):
    ids = [one.experiment_id for one in client.search_experiments()]
    return client.search_runs(ids, f"tags.`sweepboard.kind` = '{kind}'", view_type)


def history(client, run, name):
    return [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]


def everything(client):
    """All that MLflow shows, without ids and times that differ between two tellings of one story."""
    found = []
    for kind in ("parent", "job", "summary"):
        for run in runs(client, kind):
            tags = {name: value for name, value in run.data.tags.items() if "parentRunId" not in name}
            tags.pop("sweepboard.store")
            points = {name: history(client, run, name) for name in run.data.metrics}
            inputs = [one.dataset.digest for one in run.inputs.dataset_inputs]
            files = sorted(one.path for one in client.list_artifacts(run.info.run_id))
            found.append([kind, run.info.run_name, run.info.status, tags, run.data.params, points, inputs, files])
    return sorted(json.dumps(one, sort_keys=True) for one in found)
