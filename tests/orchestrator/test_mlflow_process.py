"""The view as a process beside a driver: it ends with it, never holds it up, and two of them are as good as one."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest

from orchestrator.errors import UsageError
from orchestrator.mlflow_view_process import start_view, tracking_uri, view_command, view_environment, without_password
from tests.orchestrator.mlflow_scenes import a_store, finish, free_port, run_sweep, start, until

needs_mlflow = pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")


def kinds(home):
    """sweepboard.kind -> number of active runs, read from MLflow's own tables."""
    with sqlite3.connect(f"file:{home / 'mlflow.db'}?mode=ro", uri=True) as connection:
        found = connection.execute(
            "SELECT value, count(*) FROM tags JOIN runs USING (run_uuid) "
            "WHERE key = 'sweepboard.kind' AND lifecycle_stage = 'active' GROUP BY value"
        ).fetchall()
    connection.close()
    return dict(found)


@pytest.fixture
def home(tmp_path):
    a_store(tmp_path).close()
    return tmp_path


@pytest.fixture
def store(home):
    store = a_store(home)
    yield store
    store.close()


def default_uri(home):
    return tracking_uri(home, None, {})


def sync(home, uri, *words):
    command = view_command("--home", str(home), "--once", *words)
    env = view_environment(str(home / "store.db"), uri)
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)


def test_starting_the_view_loads_no_mlflow_into_the_driver():
    code = "import sys; import orchestrator.mlflow_view_process; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_address_is_the_one_asked_for_else_the_environments_else_the_homes(tmp_path):
    assert tracking_uri(tmp_path, "http://a:1", {"MLFLOW_TRACKING_URI": "http://b:2"}) == "http://a:1"
    assert tracking_uri(tmp_path, None, {"MLFLOW_TRACKING_URI": "http://b:2"}) == "http://b:2"
    assert tracking_uri(tmp_path, None, {}) == f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "localhost:5000"])
def test_what_mlflow_no_longer_writes_to_is_refused_with_the_forms_that_work(tmp_path, uri):
    with pytest.raises(UsageError, match="http://HOST:PORT"):
        tracking_uri(tmp_path, uri, {})


def test_a_password_is_in_no_message_and_on_no_command_line(tmp_path):
    assert without_password("https://me:secret@host:5000/x") == "https://host:5000/x"
    assert "secret" in view_environment("postgresql://me:secret@db/s", "http://h")["SWEEPBOARD_STORE"]
    assert not [word for word in view_command("--home", str(tmp_path)) if "secret" in word]


@needs_mlflow
def test_two_views_started_at_once_on_a_new_home_show_everything_once(home, store):
    run_sweep(store, seeds=3)
    views = [start_view(home, str(home / "store.db"), default_uri(home)) for _ in range(2)]
    assert [view.close(drain_s=60) for view in views] == [True, True]
    assert kinds(home) == {"parent": 1, "job": 3, "summary": 1}
    assert (home / "logs" / "mlflow_view.log").read_text() == ""


@needs_mlflow
def test_a_view_that_reaches_nobody_ends_when_told_and_the_next_sync_lacks_nothing(home, store):
    run_sweep(store, seeds=2)
    view = start_view(home, str(home / "store.db"), f"http://127.0.0.1:{free_port()}")
    log = home / "logs" / "mlflow_view.log"
    until(lambda: "again in" in log.read_text(), 60)
    began_s = time.monotonic()
    assert view.close(drain_s=1) is False
    assert time.monotonic() - began_s < 5
    assert "Traceback" not in log.read_text()
    done = sync(home, default_uri(home))
    assert done.returncode == 0, done.stderr
    assert kinds(home) == {"parent": 1, "job": 2, "summary": 1}


@needs_mlflow
def test_when_its_driver_is_killed_the_view_shows_what_is_left_and_ends(home, store):
    code = (
        "import sys, time; from pathlib import Path; from orchestrator.mlflow_view_process import start_view\n"
        "view = start_view(Path(sys.argv[1]), sys.argv[1] + '/store.db', sys.argv[2])\n"
        "print(view.process.pid, flush=True); time.sleep(600)"
    )
    words = [sys.executable, "-c", code, str(home), default_uri(home)]
    driver = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    pid = int(driver.stdout.readline())
    run_sweep(store, seeds=2)
    driver.kill()
    driver.communicate()
    until(lambda: gone(pid), 60)
    assert kinds(home) == {"parent": 1, "job": 2, "summary": 1}


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        return stat.read().rpartition(")")[2].split()[0] == "Z"


@needs_mlflow
@pytest.mark.slow
def test_ten_random_kills_of_the_view_lose_and_double_nothing(home, store):
    import random

    moments = random.Random(0)
    leases = []
    for number in range(10):
        run_sweep(store, seeds=5 * (number + 1), sweep=f"s{number}")
        leases += start(store, f"s{number}")
        view = start_view(home, str(home / "store.db"), default_uri(home))
        time.sleep(moments.uniform(2.0, 6.0))
        view.process.send_signal(signal.SIGKILL)
        view.close(drain_s=1)
    for lease in leases:
        finish(store, lease)
    done = sync(home, default_uri(home))
    assert done.returncode == 0, done.stderr
    assert kinds(home)["job"] == 50
    with sqlite3.connect(home / "mlflow.db") as connection:
        doubled = connection.execute(
            "SELECT count(*) FROM metrics GROUP BY run_uuid, key, step HAVING count(*) > 1"
        ).fetchall()
        left = connection.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()
    connection.close()
    assert (doubled, left) == ([], (0,))
