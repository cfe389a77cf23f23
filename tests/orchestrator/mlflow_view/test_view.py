"""What a real MLflow shows of a real store."""

import json

import pytest

pytest.importorskip("mlflow", reason="mlflow is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own

from mlflow.entities import ViewType  # noqa: E402

from storage.records import METRICS, EpochMetrics  # noqa: E402
from storage.testing.samples import sample_job  # noqa: E402
from tests.orchestrator.mlflow_scenes import finish, run_sweep, save, start  # noqa: E402
from tests.orchestrator.mlflow_view.reading import everything, history, runs  # noqa: E402


def test_a_sweep_becomes_a_parent_a_child_per_job_and_a_summary_per_cell(store, view, client):
    run_sweep(store, seeds=3)
    view()
    (experiment,) = (one for one in client.search_experiments() if one.name != "Default")
    assert experiment.name == "sweepboard/vtab1k"
    assert experiment.tags["mlflow.experiment.primaryMetric.name"] == "test_top1_pct"
    (parent,) = runs(client, "parent")
    assert (parent.info.run_name, parent.info.status) == ("demo", "FINISHED")
    children = runs(client)
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert {run.data.tags["sweepboard.job"] for run in children} == {sample_job(seed).job_id for seed in range(3)}
    assert {run.info.status for run in children} == {"FINISHED"}
    (summary,) = runs(client, "summary")
    assert summary.data.metrics["test_top1_pct"] == 71.0
    assert summary.data.metrics["test_top1_pct_std"] == 1.0
    assert summary.data.params["seeds"] == "[0, 1, 2]"


def test_curves_have_the_epoch_as_step_and_final_metrics_come_once(store, view, client):
    run_sweep(store, seeds=1)
    view()
    (run,) = runs(client)
    assert history(client, run, "train_loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert history(client, run, "test_top1_pct") == [(3, 70.0)]
    assert set(run.data.metrics) <= set(METRICS)


def test_identifying_parameters_stand_on_every_child(store, view, client):
    run_sweep(store, seeds=2)
    view()
    for run in runs(client):
        params = run.data.params
        assert (params["method"], params["lora.rank"], params["pyra.merge_rate"]) == ("lora+pyra", "8", "high")
        assert (params["backbone"], params["dataset"]) == ("vit_base_patch16_224.augreg_in21k", "vtab1k/cifar")
        assert params["train.lr"] == "0.001"
    assert {run.data.params["seed"] for run in runs(client)} == {"0", "1"}


def test_data_set_delta_and_resolved_job_are_with_the_run(store, view, client, home):
    (home / "deltas").mkdir()
    (home / "deltas" / "x.safetensors").write_bytes(b"delta")
    save(store, sample_job())
    finish(store, start(store)[0], delta="deltas/x.safetensors", log="logs/gone.log")
    view()
    (run,) = runs(client)
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("vtab1k/cifar", "d" * 36)
    folder = home / "mlartifacts" / "vtab1k" / run.info.run_id / "artifacts"
    assert json.loads((folder / "job.json").read_text()) == sample_job().to_json()
    assert (folder / "delta" / "x.safetensors").samefile(home / "deltas" / "x.safetensors")
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["delta", "job.json"]


def test_a_running_job_is_seen_with_its_curve_so_far(store, view, client):
    save(store, sample_job())
    (lease,) = start(store)
    store.record_epoch(lease, EpochMetrics(1, {"train_loss": 2.0}, 1.0))
    follower = view()
    (run,) = runs(client)
    assert (run.info.status, history(client, run, "train_loss")) == ("RUNNING", [(1, 2.0)])
    assert runs(client, "parent")[0].info.status == "RUNNING"
    store.record_epoch(lease, EpochMetrics(2, {"train_loss": 1.0}, 2.0))
    follower.step()
    assert history(client, run, "train_loss") == [(1, 2.0), (2, 1.0)]


def test_showing_again_and_rebuilding_change_nothing(store, view, client):
    run_sweep(store, seeds=2)
    view()
    before = everything(client)
    view()
    view(rebuild=True)
    assert everything(client) == before
    assert not runs(client, "job", ViewType.DELETED_ONLY)
