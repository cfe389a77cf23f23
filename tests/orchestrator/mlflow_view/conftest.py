"""A real MLflow on a SQLite file, and a real store beside it."""

import shutil

import pytest

pytest.importorskip("mlflow", reason="mlflow is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # MLflow's own

from mlflow import MlflowClient  # noqa: E402

from orchestrator.mlflow_view_cursor import cursor_path  # noqa: E402
from orchestrator.mlflow_view_follow import Follower, store_id  # noqa: E402
from orchestrator.mlflow_view_tracker import Tracker, prepare_database  # noqa: E402
from tests.orchestrator.mlflow_scenes import a_store  # noqa: E402


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
