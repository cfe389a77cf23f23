"""Scenes that tests of the MLflow view play in a real store, and what a real MLflow shows of them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.mlflow_view_process import QUIET
from storage.open import open_store
from storage.records import Job, Lease, Result, Status
from storage.store import Store
from storage.testing.samples import curve, entries_of, sample_job


def a_store(home: Path) -> Store:
    (home / "logs").mkdir(parents=True, exist_ok=True)
    return open_store(home / "store.db")


def save(store: Store, *jobs: Job, sweep: str = "demo") -> None:
    store.save_sweep(sweep, f"name: {sweep}\n", entries_of(*jobs))


def start(store: Store, sweep: str = "demo", owner: str = "elsewhere:1:1", limit: int = 100) -> list[Lease]:
    leases = [lease for _, lease in store.claim(sweep, owner, limit, 600.0)]
    for lease in leases:
        store.start(lease)
    return leases


def result_of(lease: Lease, top1_pct: float = 70.0, epochs: int = 3, **files: str) -> Result:
    return Result(
        job_id=lease.job_id,
        status=Status.DONE,
        metrics={"test_top1_pct": top1_pct, "wall_s": 2.5, "macs": 1e9},
        epochs=curve(*[1 / (n + 1) for n in range(epochs)]),
        files=files,
        facts={"device": "a test"},
    )


def finish(store: Store, lease: Lease, top1_pct: float = 70.0, epochs: int = 3, **files: str) -> None:
    """The job goes through its epochs to its end, as the loop tells it."""
    result = result_of(lease, top1_pct, epochs, **files)
    for epoch in result.epochs:
        store.record_epoch(lease, epoch)
    store.finish(lease, result)


def run_sweep(store: Store, seeds: int, sweep: str = "demo") -> None:
    """A whole sweep of one cell."""
    save(store, *(sample_job(seed) for seed in range(seeds)), sweep=sweep)
    for number, lease in enumerate(start(store, sweep)):
        finish(store, lease, 70.0 + number)


@dataclass
class Server:
    """A real MLflow server that can be stopped and come back at the same address."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = ["--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}", "--workers", "1"]
        words += ["--artifacts-destination", str(self.folder / "artifacts"), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **QUIET},
            cwd=self.folder,
            start_new_session=True,
        )
        until(self.answers, 90)

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.settimeout(5)
            connection.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return b"OK" in connection.recv(1000)
        return False

    def signal(self, number: int) -> None:
        """To the server and its workers, which are a process group of their own."""
        if self.process is not None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(9)
            self.process.wait()
            self.process = None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(holds: object, patience_s: float) -> None:
    """Wait until the function says true; AssertionError when it does not in time."""
    deadline_s = time.monotonic() + patience_s
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, f"not within {patience_s:g} s"
        time.sleep(0.1)
