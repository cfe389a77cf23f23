"""`sweepboard mlflow sync`: show in MLflow what the store has and MLflow lacks; again is no harm."""

from __future__ import annotations

import argparse
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.mlflow_view_process import tracking_uri, view_command, view_environment
from orchestrator.session import add_command, add_home_argument, open_session
from storage.home import store_url


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(
        commands, "mlflow", run, "show the store's runs in MLflow (a running sweep does so by itself)"
    )
    command.add_argument("what", choices=["sync"], help="sync: show what is not shown yet")
    add_mlflow_argument(command)
    command.add_argument("--rebuild", action="store_true", help="look at every job again, from the first event")
    add_home_argument(command)


def add_mlflow_argument(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--mlflow", metavar="URI", help="http://HOST:PORT (default: $MLFLOW_TRACKING_URI, else mlflow.db in the home)"
    )


def require_mlflow() -> None:
    """Raises UsageError when it is not installed; does not import it."""
    if find_spec("mlflow") is None:
        raise UsageError("this needs mlflow: pip install 'sweepboard[mlflow]'")


def run(args: argparse.Namespace) -> int:
    require_mlflow()
    with open_session(args) as session:
        home = session.home
    return run_view(home, args.mlflow, "--once", *(["--rebuild"] if args.rebuild else []))


def run_view(home: Path, asked: str | None, *words: str) -> int:
    """Run the process that imports mlflow to its end; its exit code."""
    env = view_environment(store_url(home, os.environ), tracking_uri(home, asked, os.environ))
    return subprocess.run(view_command("--home", str(home), *words), env=env, check=False).returncode
