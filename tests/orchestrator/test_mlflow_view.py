"""What a real MLflow (a SQLite file) shows of a real store; nothing is lost or doubled however it is interrupted."""

import json
import math
import shutil
from collections import Counter

import pytest

pytest.importorskip("mlflow", reason="mlflow is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own

from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import ViewType  # noqa: E402

from orchestrator.mlflow_view_cursor import cursor_path  # noqa: E402
from orchestrator.mlflow_view_follow import Follower, store_id  # noqa: E402
from orchestrator.mlflow_view_tracker import Tracker, prepare_database  # noqa: E402
from orchestrator.owners import this_owner  # noqa: E402
from storage.records import METRICS, EpochMetrics, Result, Status  # noqa: E402
from storage.testing.samples import failed, sample_job  # noqa: E402
from tests.orchestrator.mlflow_scenes import a_store, finish, result_of, run_sweep, save, start  # noqa: E402


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    folder = tmp_path_factory.mktemp("empty")
    prepare_database(f"sqlite:///{folder / 'mlflow.db'}", folder)
    return folder / "mlflow.db"


@pytest.fixture
def home(tmp_path, empty_database):
    shutil.copyfile(empty_database, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def store(home):
    store = a_store(home)
    yield store
    store.close()


@pytest.fixture
def uri(home):
    return f"sqlite:///{home / 'mlflow.db'}"


@pytest.fixture
def view(home, store, uri):
    """A new view each time, as a new process makes it; shows everything."""

    def show(rebuild=False, of=None):
        of = of or store
        follower = Follower(of, Tracker(uri, home, store_id(of)), home, cursor_path(home, uri))
        if rebuild:
            follower.rewind()
        while follower.step():
            pass
        follower.reap()
        follower.settle()
        return follower

    return show


@pytest.fixture
def client(uri):
    return MlflowClient(uri)


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


class Killed(BaseException):
    """As a kill: no handler of the view sees it."""


WRITES = ("create_experiment", "create_run", "log_batch", "log_inputs", "set_terminated", "delete_run", "update_run")


@pytest.fixture
def kill_behind(monkeypatch):
    """Kills the view behind its n-th writing request (0: never); counts them."""
    count = Counter()

    def with_counting(real):
        def call(self, *args, **kwargs):
            answer = real(self, *args, **kwargs)
            count["requests"] += 1
            if count["requests"] == count["deadly"]:
                raise Killed
            return answer

        return call

    for name in WRITES:
        monkeypatch.setattr(MlflowClient, name, with_counting(getattr(MlflowClient, name)))

    def set_deadly(number):
        count.update(requests=-count["requests"], deadly=number - count["deadly"])
        return count

    return set_deadly


def test_a_view_killed_behind_any_request_and_started_again_ends_the_same(store, empty_database, tmp_path, kill_behind):
    save(store, sample_job(0))
    (lease,) = start(store)
    store.finish(lease, failed(sample_job(0)))

    def told(folder, deadly):
        folder.mkdir(exist_ok=True)
        if not (folder / "mlflow.db").exists():
            shutil.copyfile(empty_database, folder / "mlflow.db")
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        count = kill_behind(deadly)
        follower = Follower(store, Tracker(uri, folder, store_id(store)), folder, cursor_path(folder, uri))
        while follower.step():
            pass
        follower.settle()
        return count["requests"], MlflowClient(uri)

    told(tmp_path / "calm", 0)
    store.set_status([sample_job(0).job_id], Status.PENDING)
    finish(store, start(store)[0])
    _, client = told(tmp_path / "calm", 0)
    calm = everything(client)
    for deadly in range(1, 40):
        try:
            told(tmp_path / str(deadly), deadly)
            break
        except Killed:
            _, client = told(tmp_path / str(deadly), 0)
            assert everything(client) == calm, f"killed behind request {deadly}"
    assert deadly > 8  # every request had its turn, and there were some


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
