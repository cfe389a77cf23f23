"""Kill the driver of a real search three times: the same trials, the same values, no job done twice."""

import json
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from storage.open import open_store
from storage.records import Phase
from tests.chaos.test_killed_driver import board, sweepboard

SPEC = """\
name: killed
datasets: [embedded/digits, embedded/count]
backbones: [pico_vit]
methods: [gps]
seeds: 2
train: {epochs: 3, batch_size: 64, precision: fp32}
tune: {trials: 7, parallel: 2, space: {lr: {log: [1e-4, 3e-1]}, gps.connections_per_neuron: {int: [1, 15]}}}
"""
TRIALS = 14


def trials_ended(home: Path) -> tuple[int, int]:
    """How many trials are recorded, and how many of their jobs have ended."""
    if not (home / "store.db").exists():
        return 0, 0
    store = open_store(home / "store.db")
    try:
        if "killed" not in store.sweeps():
            return 0, 0
        jobs = {state.job.job_id: state for state in store.jobs("killed") if state.job.phase is Phase.SEARCH}
        return len(store.trials(store.studies("killed"))), sum(state.status.is_finished for state in jobs.values())
    finally:
        store.close()


def killed_when(home: Path, spec: Path, recorded: int, pause_s: float) -> tuple[int, int]:
    """Drive until so many trials are recorded and a moment longer; what there was when the driver was killed."""
    driver = subprocess.Popen(sweepboard(home, "run", str(spec)), stderr=subprocess.DEVNULL)
    until_s = time.monotonic() + 300
    while trials_ended(home)[0] < recorded:
        assert driver.poll() is None, "the driver ended before it could be killed"
        assert time.monotonic() < until_s, f"{recorded} trials were not seen"
        time.sleep(0.1)
    time.sleep(pause_s)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    return trials_ended(home)


def shown(home: Path) -> dict[str, object]:
    """`tune show`, but for how much pruned jobs trained until they heard of it: that is a matter of moments."""
    words = sweepboard(home, "tune", "show", "killed", "--json")
    record = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    for study in record["studies"]:
        del study["epochs_saved"]
        for trial in (study["best"], *study["trials"]):
            del trial["epochs"]
    return record


@pytest.mark.chaos
def test_three_kills_in_the_search_leave_its_trials_and_its_values_as_they_would_have_been(tmp_path):
    spec = tmp_path / "killed.yaml"
    spec.write_text(SPEC)
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    subprocess.run(sweepboard(calm, "run", str(spec)), check=True, capture_output=True)
    moments = random.Random(2)
    for recorded in (3, 7, 11):
        asked, ended = killed_when(wild, spec, recorded, moments.uniform(0.0, 4.0))
        assert ended < TRIALS, "the search was over when the driver was killed"
        assert asked >= recorded
    subprocess.run(sweepboard(wild, "run", str(spec)), check=True, capture_output=True)
    assert shown(wild) == shown(calm)
    assert board(wild) == board(calm)
    store = open_store(wild / "store.db")
    ends = Counter(event.job_id for event in store.events(limit=100_000) if event.kind in ("job_done", "job_pruned"))
    store.close()
    assert set(ends.values()) == {1}
