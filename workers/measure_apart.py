"""The measure phase: asks a fresh process, because speed and memory of a packed, warm worker are contaminated."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from storage.records import SPEED_METRICS, FailureClass
from workers.errors import MeasureFailed, Unsupported
from workers.running import Outcome, Running
from workers.site import Site

_log = logging.getLogger(__name__)
_POLL_S = 0.1
_LONGEST_S = 1800.0
_SHOWN_LINES = 20


def measure_apart(running: Running) -> Outcome:
    """Metrics of a measure job (`SPEED_METRICS`), from `python -m workers.measure`, which ends with this process.

    The loop sees to it that nothing else runs meanwhile. Raises Unsupported, MeasureFailed, Stopped.
    """
    job, device = running.job, running.device
    if job.device != device.type:
        raise Unsupported(
            f"the job measures speed on {job.device}, and this slot has {device.type}; run it with --device "
            f"{job.device}, or plan again with the device that the slots have"
        )
    with TemporaryDirectory(prefix="sweepboard-measure-") as folder, running.clock.timed("measure"):
        answer = _asked({"job": job.to_json(), "site": _site_json(running.site)}, Path(folder), running)
    if "failure" in answer:
        failure = answer["failure"]
        _log.error("the measuring process failed:\n%s", failure["detail"])
        error = MeasureFailed(failure["message"])
        error.failure_class = FailureClass(failure["failure_class"])  # type: ignore[misc]  # the other process's
        raise error
    return Outcome(metrics={name: float(answer["metrics"][name]) for name in SPEED_METRICS})


def _site_json(site: Site) -> dict[str, Any]:
    from workers.measure import site_to_json

    return site_to_json(site)


def _asked(question: dict[str, Any], folder: Path, running: Running) -> dict[str, Any]:
    """The other process's answer, read from a file so that no full pipe can block it."""
    with _process(folder) as process:
        if process.stdin is None:
            raise MeasureFailed("the measuring process has no standard input")
        process.stdin.write(f"{json.dumps(question)}\n")
        process.stdin.flush()
        began_s = time.monotonic()
        while process.poll() is None:
            running.told("measure", 0, 0)
            if time.monotonic() - began_s > _LONGEST_S:
                raise MeasureFailed(f"no answer after {_LONGEST_S:g} s; lower measure: {{batch_size: …}}")
            time.sleep(_POLL_S)
    said = (folder / "stdout").read_text().strip().splitlines()
    try:
        answer: dict[str, Any] = json.loads(said[-1])
        return answer
    except (IndexError, ValueError):
        last = "\n".join((folder / "stderr").read_text(errors="replace").splitlines()[-_SHOWN_LINES:])
        code = process.returncode
        raise MeasureFailed(f"the measuring process ended with code {code} and no answer: {last}") from None


@contextmanager
def _process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The process, ended at the end of the block however that comes; it also ends when its standard input does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with (folder / "stdout").open("w") as stdout, (folder / "stderr").open("w") as stderr:
        command = [sys.executable, "-P", "-m", "workers.measure"]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, text=True, env=environment
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
