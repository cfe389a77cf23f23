"""`sweepboard ui`: MLflow's own UI on the home's runs, for this machine only."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from typing import Any

from orchestrator.commands.mlflow import add_mlflow_argument, require_mlflow, run_view
from orchestrator.errors import EXIT_OK, UsageError
from orchestrator.mlflow_view_process import tracking_uri, view_environment, without_password
from orchestrator.session import add_command, add_home_argument, note, open_session
from storage.home import store_url

HOST = "127.0.0.1"
PORTS = range(5000, 5020)


def register(commands: argparse._SubParsersAction[Any]) -> None:
    command = add_command(commands, "ui", run, "open MLflow's UI on the runs of this home, on this machine only")
    command.add_argument("--port", type=int, help=f"default: the first free one from {PORTS.start}")
    add_mlflow_argument(command)
    add_home_argument(command)


def run(args: argparse.Namespace) -> int:
    require_mlflow()
    with open_session(args) as session:
        home = session.home
    uri = tracking_uri(home, args.mlflow, os.environ)
    if uri.startswith(("http://", "https://")):
        note(f"MLflow: {without_password(uri)} (a server of its own: open it in a browser)")
        return EXIT_OK
    port = _free_port(args.port)
    code = run_view(home, args.mlflow, "--prepare")
    if code != EXIT_OK:
        return code
    note(f"MLflow: http://{HOST}:{port}/#/experiments   (Ctrl-C ends it)")
    sys.stderr.flush()
    words = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", HOST, "--port", str(port)]
    env = view_environment(store_url(home, os.environ), uri)
    os.chdir(home)  # MLflow makes folders where it is started
    os.execve(sys.executable, [*words, "--workers", "1"], env)  # signals are the server's own affair


def _free_port(asked: int | None) -> int:
    """The port asked for, or the first free one. Raises UsageError."""
    for port in PORTS if asked is None else (asked,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UsageError(
        f"port {asked or f'{PORTS.start} to {PORTS.stop - 1}'} is taken on {HOST}; name a free one: --port N"
    )
