"""A real MLflow server that is killed, frozen, or loses answers: no job waits, and nothing is missing afterwards."""

import http.client
import signal
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("mlflow", reason="mlflow is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]

from mlflow import MlflowClient  # noqa: E402

from orchestrator.mlflow_view import main  # noqa: E402
from orchestrator.mlflow_view_process import start_view  # noqa: E402
from storage.testing.samples import sample_job  # noqa: E402
from tests.orchestrator.mlflow_scenes import Server, a_store, finish, free_port, run_sweep, save, start, until  # noqa: E402


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder, free_port())
    server.start()
    yield server
    server.kill()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def store(home):
    store = a_store(home)
    yield store
    store.close()


def finished_jobs(uri):
    """Seeds of the jobs that MLflow shows as finished, with their curves."""
    client = MlflowClient(uri)
    ids = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(ids, "tags.`sweepboard.kind` = 'job' and attributes.status = 'FINISHED'")
    curves = {
        int(run.data.params["seed"]): [point.step for point in client.get_metric_history(run.info.run_id, "train_loss")]
        for run in runs
    }
    assert len(curves) == len(runs)
    return curves


WHOLE = [1, 2, 3]


def test_a_server_that_dies_and_comes_back_has_everything_afterwards(server, store, home):
    save(store, *(sample_job(seed) for seed in range(9)))
    leases = start(store)
    view = start_view(home, str(home / "store.db"), server.uri)
    for lease in leases[:3]:
        finish(store, lease)
    until(lambda: len(finished_jobs(server.uri)) == 3, 60)
    server.kill()
    for lease in leases[3:6]:
        finish(store, lease)
    time.sleep(5)
    server.start()
    for lease in leases[6:]:
        finish(store, lease)
    assert view.close(drain_s=60) is True
    assert finished_jobs(server.uri) == dict.fromkeys(range(9), WHOLE)


def test_a_frozen_server_holds_up_nobody_and_gets_the_rest_by_sync(server, store, home, monkeypatch):
    save(store, *(sample_job(seed) for seed in range(6)))
    leases = start(store)
    view = start_view(home, str(home / "store.db"), server.uri)
    for lease in leases[:3]:
        finish(store, lease)
    until(lambda: len(finished_jobs(server.uri)) == 3, 60)
    server.signal(signal.SIGSTOP)
    began_s = time.monotonic()
    for lease in leases[3:]:
        finish(store, lease)
    assert time.monotonic() - began_s < 2
    time.sleep(2)
    began_s = time.monotonic()
    assert view.close(drain_s=2) is False
    assert time.monotonic() - began_s < 6
    server.signal(signal.SIGCONT)
    monkeypatch.setenv("SWEEPBOARD_STORE", str(home / "store.db"))
    assert main(["--home", str(home), "--mlflow", server.uri, "--once"]) == 0
    assert finished_jobs(server.uri) == dict.fromkeys(range(6), WHOLE)


@contextmanager
def losing_answers(port, every):
    """A proxy before the server: of every so many writing requests one is carried out and its answer lost."""
    seen = {"posts": 0, "lost": 0}

    class Proxy(BaseHTTPRequestHandler):
        def forward(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            onward = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            onward.request(self.command, self.path, body, {"Content-Type": "application/json", "Host": "localhost"})
            answer = onward.getresponse()
            content = answer.read()
            onward.close()
            if self.command == "POST" and "/search" not in self.path:
                seen["posts"] += 1
                if seen["posts"] % every == 0:
                    seen["lost"] += 1
                    self.close_connection = True
                    return
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = forward

        def log_message(self, format, *args):
            """Quiet."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}", seen
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()


def test_answers_lost_after_the_server_did_its_work_double_nothing(server, store, home):
    run_sweep(store, seeds=4)
    with losing_answers(server.port, every=4) as (uri, seen):
        view = start_view(home, str(home / "store.db"), uri)
        until(lambda: len(finished_jobs(server.uri)) == 4, 120)
        assert view.close(drain_s=60) is True
        assert seen["lost"] >= 3
    assert finished_jobs(server.uri) == dict.fromkeys(range(4), WHOLE)
