"""Kill the driver of a real sweep at random moments: the same command goes on to the same board, byte for byte."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.loop import LEASE_S
from storage.open import open_store

DEMO = Path(__file__).parents[2] / "orchestrator" / "examples" / "demo.yaml"
SPEC = """\
name: killed
datasets: [embedded/digits, embedded/count]
backbones: [nano_vit]
methods: [linear, {lora: {rank: 4}}, {gps: {connections_per_neuron: [1, 2], train: {epochs: 1}}}]
seeds: 1
train: {epochs: 1, batch_size: 64}
"""


def sweepboard(home: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "orchestrator.cli", *words, "--home", str(home)]


def board(home: Path, sweep: str = "killed") -> str:
    words = sweepboard(home, "leaderboard", sweep, "--format", "csv", "--no-costs")
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def status(home: Path, sweep: str = "killed") -> dict[str, object]:
    done = subprocess.run(sweepboard(home, "status", sweep, "--json"), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "killed.yaml"
    path.write_text(SPEC)
    return path


def count(home: Path, kind: str) -> int:
    """How many events of that kind the store has, where there is one."""
    if not (home / "store.db").exists():
        return 0
    store = open_store(home / "store.db")
    try:
        return len(store.events(limit=100_000, kind=kind))
    finally:
        store.close()


def jobs_lost(home: Path) -> int:
    """How many runs of jobs did not come to an end."""
    return count(home, "job_running") - count(home, "job_done")


def killed(home: Path, spec: Path, pause_s: float, *, with_jobs: bool) -> None:
    """Drive, and kill the driver that long after its first job began (however slow the machine), or after its start."""
    before = count(home, "job_running")
    driver = subprocess.Popen(sweepboard(home, "run", str(spec)), stderr=subprocess.DEVNULL)
    until_s = time.monotonic() + 300
    try:
        while with_jobs and count(home, "job_running") == before:
            assert driver.poll() is None, "the driver ended before it could be killed"
            assert time.monotonic() < until_s, "no job was seen"
            time.sleep(0.1)
        time.sleep(pause_s)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()


def descendants(process: subprocess.Popen, name: str) -> list[psutil.Process]:
    found = []
    for one in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):  # gone since it was listed
            if name in " ".join(one.cmdline()):
                found.append(one)
    return found


@pytest.mark.chaos
def test_ten_random_kills_over_the_demo_leave_the_board_as_an_undisturbed_run_makes_it(tmp_path):
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    subprocess.run(sweepboard(calm, "run", str(DEMO)), check=True, capture_output=True)
    moments = random.Random(1)
    for kill in range(10):
        killed(wild, DEMO, moments.uniform(0.0, 20.0), with_jobs=kill > 2)
    assert jobs_lost(wild) >= 5  # else the kills hit nothing
    subprocess.run(sweepboard(wild, "run", str(DEMO)), check=True, capture_output=True)
    assert board(wild, "demo") == board(calm, "demo")
    record = status(wild, "demo")
    assert record["by_status"] == {"done": record["jobs"]}


@pytest.mark.chaos
@pytest.mark.parametrize("victim", ["raylet", "gcs_server", "ray::JobSlot"])
def test_killing_ray_itself_loses_nothing(victim, spec, tmp_path):
    home = tmp_path / "home"
    driver = subprocess.Popen(sweepboard(home, "run", str(spec)), stderr=subprocess.DEVNULL)
    until_s = time.monotonic() + 120
    while not (victims := descendants(driver, victim)) or not list((home / "logs").glob("*.*.log")):
        assert time.monotonic() < until_s, f"no {victim} was seen"
        time.sleep(0.3)
    victims[0].kill()
    driver.wait(timeout=300)
    subprocess.run(sweepboard(home, "run", str(spec)), check=True, capture_output=True)
    record = status(home)
    assert record["by_status"] == {"done": record["jobs"]}


@pytest.mark.chaos
def test_five_random_kills_leave_the_board_as_an_undisturbed_run_makes_it(spec, tmp_path):
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    began_s = time.monotonic()
    subprocess.run(sweepboard(calm, "run", str(spec)), check=True, capture_output=True)
    whole_s = time.monotonic() - began_s
    moments = random.Random(0)
    for kill in range(5):
        killed(wild, spec, moments.uniform(0.0, 6.0), with_jobs=kill > 0)
    assert jobs_lost(wild) >= 2  # else the kills hit nothing
    began_s = time.monotonic()
    subprocess.run(sweepboard(wild, "run", str(spec)), check=True, capture_output=True)
    assert time.monotonic() - began_s < whole_s + LEASE_S / 2  # a dead driver's leases are not waited for
    assert board(wild) == board(calm)
    assert status(wild)["by_status"] == {"done": status(wild)["jobs"]}


@pytest.mark.chaos
def test_ctrl_c_drains_and_the_same_command_goes_on(spec, tmp_path):
    home = tmp_path / "home"
    driver = subprocess.Popen(sweepboard(home, "run", str(spec)), stderr=subprocess.PIPE, text=True)
    while not (home / "store.db").exists() or len(list((home / "logs").glob("*.*.log"))) < 2:
        time.sleep(0.2)
    driver.send_signal(signal.SIGINT)
    _, stderr = driver.communicate(timeout=60)
    assert driver.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert set(status(home)["by_status"]) <= {"done", "pending"}
    again = subprocess.run(sweepboard(home, "run", str(spec)), check=False, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert status(home)["by_status"] == {"done": status(home)["jobs"]}


@pytest.mark.chaos
def test_two_drivers_at_once_share_the_work(spec, tmp_path):
    home = tmp_path / "home"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    drivers = [
        subprocess.Popen(sweepboard(home, "run", str(spec)), stderr=subprocess.PIPE, text=True, env=env)
        for _ in range(2)
    ]
    for driver in drivers:
        _, stderr = driver.communicate(timeout=300)
        assert driver.returncode == 0, stderr
    done = subprocess.run(sweepboard(home, "status", "killed", "--json"), capture_output=True, text=True, check=True)
    record = json.loads(done.stdout)
    assert record["by_status"] == {"done": record["jobs"]}
    attempts = list((home / "logs").glob("*.[1-9]*.log"))  # preflight writes .0.log
    assert len(attempts) == record["jobs"]  # one log per attempt: no job ran twice
