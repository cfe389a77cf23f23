"""The demo, whole: it must fit a coffee break, and its board must show what adaptation is for."""

import csv
import io
import resource
import statistics
import subprocess
import sys
import time
from collections import defaultdict

import pytest

DEMO = "orchestrator/examples/demo.yaml"
PEFT = ("lora", "gps")


def sweepboard(*words):
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *words], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """(home, CPU seconds, mean test top-1 in % by row and data set), of the demo run once."""
    home = tmp_path_factory.mktemp("demo") / "home"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = sweepboard("run", DEMO, "--pool", "inline", "--mlflow", "off", "--home", str(home))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    text = sweepboard("leaderboard", "demo", "--format", "csv", "--home", str(home)).stdout
    found = defaultdict(list)
    for line in csv.DictReader(io.StringIO(text)):
        found[line["row"], line["backbone"], line["dataset"]].append(float(line["test_top1_pct"]))
    return home, cpu_s, {key: statistics.mean(values) for key, values in found.items()}


def best(board, dataset, prefixes):
    return max(
        score
        for (row, backbone, name), score in board.items()
        if name == dataset and backbone == "nano_vit" and row.startswith(prefixes)
    )


@pytest.mark.slow
def test_the_demo_takes_at_most_900_cpu_seconds(demo):
    _, cpu_s, _ = demo
    assert cpu_s <= 900  # 7.5 minutes of two cores


@pytest.mark.slow
def test_the_best_peft_row_beats_the_linear_probe_by_8_points_on_each_task(demo):
    _, _, board = demo
    datasets = {name for _, _, name in board}
    assert len(datasets) >= 3
    gains = {name: best(board, name, PEFT) - board["linear", "nano_vit", name] for name in datasets}
    assert min(gains.values()) >= 8, gains


@pytest.mark.slow
def test_full_fine_tuning_beats_raw_pixels_on_at_least_two_tasks(demo):
    _, _, board = demo
    datasets = {name for _, _, name in board}
    wins = [name for name in datasets if board["full", "nano_vit", name] > board["linear", "raw_pixels", name]]
    assert len(wins) >= 2, board


@pytest.mark.slow
def test_a_second_demo_runs_no_job_and_is_quick(demo):
    home, _, _ = demo
    began_s = time.monotonic()
    done = sweepboard("run", DEMO, "--mlflow", "off", "--home", str(home))
    assert done.returncode == 0
    assert "0 jobs run" in done.stderr
    assert time.monotonic() - began_s < 15
