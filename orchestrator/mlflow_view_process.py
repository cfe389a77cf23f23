"""Starting the MLflow view beside a driver, and ending it. Imports no mlflow: the driver must not pay for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.errors import UsageError

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
LOG = "mlflow_view.log"
EXIT_LEFT = 3
"""The view ended with events not shown; `sweepboard mlflow sync` shows them."""

_SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
_GRACE_S = 2.0

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # a queue for language-model work: two processes for nothing
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # sent twice it could make two runs: the view looks before it asks again
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""Environment of every process of ours that imports mlflow; what the user has set wins."""


def tracking_uri(home: Path, asked: str | None, env: Mapping[str, str]) -> str:
    """Where runs are shown: what was asked for, else MLFLOW_TRACKING_URI, else a SQLite file in the home.

    Raises UsageError for what MLflow cannot write to.
    """
    uri = asked or env.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home.absolute() / DATABASE}"
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme not in _SCHEMES:
        raise UsageError(
            f"MLflow cannot be reached at {uri!r}: expected http://HOST:PORT of a tracking server, or a database as "
            "sqlite:////absolute/path.db (MLflow's plain folders, `./mlruns`, are no longer supported)"
        )
    return uri


def without_password(uri: str) -> str:
    """The address as it may be logged."""
    parts = urlsplit(uri)
    return uri if "@" not in parts.netloc else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def view_command(*words: str) -> list[str]:
    """The command line of the process that imports mlflow."""
    return [sys.executable, "-m", "orchestrator.mlflow_view", *words]


def view_environment(store_url: str, uri: str) -> dict[str, str]:
    """Addresses go through the environment: they may hold passwords, and every user can read a command line."""
    return {**QUIET, **os.environ, "SWEEPBOARD_STORE": store_url, "MLFLOW_TRACKING_URI": uri}


@dataclass(frozen=True)
class ViewProcess:
    """A running view. It follows the store until it is closed, or until this process is gone."""

    process: subprocess.Popen[bytes]

    def close(self, drain_s: float) -> bool:
        """Let the view show what is left for at most `drain_s` seconds, then end it. Whether everything is shown."""
        stdin = self.process.stdin
        if stdin is not None and not stdin.closed:
            try:
                stdin.write(f"drain {drain_s}\n".encode())
                stdin.close()
            except BrokenPipeError:
                stdin.close()  # it is gone already; its exit code says why
        try:
            self.process.wait(drain_s + _GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()  # nothing is lost: what it had not confirmed is shown by the next view
            self.process.wait()
        return self.process.returncode == 0


def start_view(home: Path, store_url: str, uri: str, extra: Sequence[str] = ()) -> ViewProcess:
    """Start the view as a process of its own, in a session of its own: Ctrl-C is for the driver.

    It writes to `logs/mlflow_view.log` in the home. Raises OSError when it cannot be started.
    """
    log = home / "logs" / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        process = subprocess.Popen(
            view_command("--home", str(home), "--follow", *extra),
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=file,
            env=view_environment(store_url, uri),
            start_new_session=True,
        )
    return ViewProcess(process)
