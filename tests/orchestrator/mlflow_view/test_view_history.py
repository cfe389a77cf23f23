"""Retries, dead drivers, shared jobs, deleted runs: MLflow agrees with the store whatever happened."""

import json
import math

import pytest

pytest.importorskip("mlflow", reason="mlflow is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own


from orchestrator.mlflow_view_cursor import cursor_path  # noqa: E402
from orchestrator.owners import this_owner  # noqa: E402
from storage.records import EpochMetrics, Result, Status  # noqa: E402
from storage.testing.samples import failed, sample_job  # noqa: E402
from tests.orchestrator.mlflow_scenes import a_store, finish, result_of, run_sweep, save, start  # noqa: E402
from tests.orchestrator.mlflow_view.reading import everything, history, runs  # noqa: E402


def test_a_retried_job_has_one_run_that_of_its_last_attempt(store, view, client):
    save(store, sample_job())
    (lease,) = start(store)
    store.record_epoch(lease, EpochMetrics(1, {"train_loss": 9.0}, 1.0))
    store.finish(lease, failed(sample_job()))
    view()
    (run,) = runs(client)
    assert run.info.status == "FAILED"
    assert run.data.tags["sweepboard.failure_class"] == "diverged"
    assert "NaN" in run.data.tags["sweepboard.cause"]
    store.set_status([sample_job().job_id], Status.PENDING)
    finish(store, start(store)[0])
    view()
    (run,) = runs(client)
    assert (run.info.status, run.data.tags["sweepboard.attempt"]) == ("FINISHED", "2")
    assert history(client, run, "train_loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def test_a_job_given_back_is_killed_in_mlflow_and_replaced_when_it_runs_again(store, view, client):
    save(store, sample_job())
    (lease,) = start(store)
    view()
    store.release(lease, "node_lost: the node is gone")
    view()
    (run,) = runs(client)
    assert (run.info.status, run.data.tags["sweepboard.cause"]) == ("KILLED", "node_lost: the node is gone")
    finish(store, start(store)[0])
    view()
    (run,) = runs(client)
    assert run.info.status == "FINISHED"


def test_the_run_of_a_job_whose_driver_died_does_not_stay_running(store, view, client):
    save(store, sample_job(0), sample_job(1))
    dead = f"{this_owner().rpartition(':')[0]}:{2**22 + 1}"  # beyond the largest process id
    start(store, owner=dead, limit=1)
    start(store, owner=this_owner(), limit=1)
    view()
    status = {run.data.params["seed"]: run.info.status for run in runs(client)}
    assert status == {"0": "KILLED", "1": "RUNNING"}
    assert runs(client, "parent")[0].info.status == "RUNNING"


def test_a_cancelled_job_is_killed_in_mlflow(store, view, client):
    save(store, sample_job())
    start(store)
    view()
    store.set_status([sample_job().job_id], Status.CANCELLED)
    view()
    assert [run.info.status for run in runs(client)] == ["KILLED"]


def test_values_that_are_no_numbers_are_shown_as_such_and_averages_leave_them_out(store, view, client):
    save(store, sample_job())
    (lease,) = start(store)
    metrics = {"test_top1_pct": 50.0, "test_loss": math.nan, "lr": math.inf}
    curve = (EpochMetrics(1, {"train_loss": math.nan}, 1.0),)
    store.finish(lease, Result(job_id=lease.job_id, status=Status.DONE, metrics=metrics, epochs=curve))
    view()
    view(rebuild=True)
    (run,) = runs(client)
    assert math.isnan(run.data.metrics["test_loss"])
    assert len(client.get_metric_history(run.info.run_id, "train_loss")) == 1
    assert set(runs(client, "summary")[0].data.metrics) == {"test_top1_pct"}


def test_long_curves_and_many_metrics_fit_through_mlflows_limits(store, view, client):
    save(store, sample_job())
    (lease,) = start(store)
    metrics = {f"metric_{number}": float(number) for number in range(1200)}
    curve = tuple(EpochMetrics(number, {"train_loss": 1 / number}, float(number)) for number in range(1, 1201))
    store.finish(lease, Result(job_id=lease.job_id, status=Status.DONE, metrics=metrics, epochs=curve))
    view()
    (run,) = runs(client)
    assert len(run.data.metrics) == 1201
    assert len(history(client, run, "train_loss")) == 1200


def test_a_job_that_two_sweeps_share_has_one_run_with_both_names(store, view, client):
    run_sweep(store, seeds=1, sweep="first")
    save(store, sample_job(0), sample_job(1), sweep="second")
    finish(store, start(store, "second")[0])
    view()
    by_seed = {run.data.params["seed"]: run.data.tags for run in runs(client)}
    assert by_seed["0"]["sweepboard.sweep"] == "first"
    assert by_seed["0"]["sweepboard.in.second"] == "yes"
    assert "sweepboard.in.first" not in by_seed["1"]
    assert {run.data.params["seeds"] for run in runs(client, "summary")} == {"[0]", "[0, 1]"}


def test_a_cell_that_gets_more_seeds_gets_a_new_summary_in_place_of_the_old_one(store, view, client):
    run_sweep(store, seeds=1)
    view()
    run_sweep(store, seeds=2)
    view()
    (summary,) = runs(client, "summary")
    assert summary.data.params["seeds"] == "[0, 1]"


def test_two_stores_in_one_mlflow_stay_apart(store, view, client, tmp_path):
    run_sweep(store, seeds=1)
    view()
    other = a_store(tmp_path / "other")
    run_sweep(other, seeds=1)
    view(of=other)
    other.close()
    assert len(runs(client)) == 2
    assert len({run.data.tags["sweepboard.store"] for run in runs(client)}) == 2


def test_when_the_experiment_was_deleted_for_good_everything_is_shown_again(store, view, client, uri, home):
    run_sweep(store, seeds=1)
    follower = view()
    record = json.loads(cursor_path(home, uri).read_text())
    record["experiments"] = {"sweepboard/vtab1k": "1@1"}  # as if of a database that is gone
    cursor_path(home, uri).write_text(json.dumps(record))
    for run in runs(client):
        client.delete_run(run.info.run_id)
    assert view().cursor.event_id == follower.cursor.event_id
    assert len(runs(client)) == 1


def test_a_run_deleted_by_hand_while_its_job_runs_comes_back_whole(store, view, client):
    save(store, sample_job())
    (lease,) = start(store)
    follower = view()
    client.delete_run(runs(client)[0].info.run_id)
    store.finish(lease, result_of(lease))
    while follower.step():
        pass
    (run,) = runs(client)
    assert (run.info.status, run.data.params["seed"]) == ("FINISHED", "0")
    assert len(history(client, run, "train_loss")) == 3
    assert not follower.cursor.refused


def test_a_broken_cursor_file_costs_time_and_nothing_else(store, view, client, uri, home):
    run_sweep(store, seeds=1)
    view()
    before = everything(client)
    cursor_path(home, uri).write_text("{half")
    view()
    assert everything(client) == before
