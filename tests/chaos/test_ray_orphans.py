"""However the driver ends, none of its processes stays: slots, raylet, control store."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.slow
_GONE_WITHIN_S = 15.0

DRIVER = """
import sys, time
from pathlib import Path
from workers.pools.protocol import Progress, Request
from workers.pools.ray_pool import RayPool
from workers.pools.ray_session import RayOptions
from workers.testing import probe_job, probe_lease

def stubborn(job, lease, report, bundle):
    import os, subprocess
    child = subprocess.Popen(["sleep", "300"])
    Path({place!r}, str(os.getpid())).touch()
    Path({place!r}, str(child.pid)).touch()
    report(Progress(job.job_id, lease.epoch, "began"))
    time.sleep(300)

pool = RayPool(stubborn, RayOptions(slots=2))
for seed in range(2):
    job = probe_job("waits", seed)
    pool.submit(job, probe_lease(job), Request())
try:
    while True:
        pool.next_event(0.5)
finally:
    pool.close()
"""


def descendants(driver: subprocess.Popen[bytes], place: Path) -> dict[int, psutil.Process]:
    """All processes below the driver, and the slots and their children, who told us their ids."""
    found = {process.pid: process for process in psutil.Process(driver.pid).children(recursive=True)}
    for path in place.iterdir():
        found.setdefault(int(path.name), psutil.Process(int(path.name)))
    return found


def begun(place: Path) -> subprocess.Popen[bytes]:
    """A driver whose two slots run jobs that never listen, each with a child process of its own."""
    code = DRIVER.format(place=str(place))
    driver = subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 60
    while len(list(place.iterdir())) < 4:
        assert driver.poll() is None, "the driver ended by itself"
        assert time.monotonic() < deadline_s, "the slots did not begin in a minute"
        time.sleep(0.1)
    return driver


def signal_driver(driver: subprocess.Popen[bytes], how: str) -> None:
    match how:
        case "Ctrl-C":  # a terminal sends it to the whole foreground group
            os.killpg(driver.pid, signal.SIGINT)
        case "SIGTERM":
            driver.terminate()
        case "SIGKILL":
            driver.kill()


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "SIGKILL"])
def test_nothing_stays_when_the_driver_ends_by(how, tmp_path):
    driver = begun(tmp_path)
    processes = descendants(driver, tmp_path)
    names = {process.name() for process in processes.values()}
    assert {"raylet", "gcs_server"} <= names
    signal_driver(driver, how)
    driver.wait(timeout=_GONE_WITHIN_S)
    _, alive = psutil.wait_procs(processes.values(), timeout=_GONE_WITHIN_S)
    left = [f"{process.pid} {process.name()}" for process in alive]
    for process in alive:
        process.kill()
    assert not left
