"""Killed behind any of its requests and started again, the view ends the same."""

import shutil
from collections import Counter

import pytest

pytest.importorskip("mlflow", reason="mlflow is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own

from mlflow import MlflowClient  # noqa: E402

from orchestrator.mlflow_view_cursor import cursor_path  # noqa: E402
from orchestrator.mlflow_view_follow import Follower, store_id  # noqa: E402
from orchestrator.mlflow_view_tracker import Tracker  # noqa: E402
from storage.records import Status  # noqa: E402
from storage.testing.samples import failed, sample_job  # noqa: E402
from tests.orchestrator.mlflow_scenes import finish, save, start  # noqa: E402
from tests.orchestrator.mlflow_view.reading import everything  # noqa: E402


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
