"""MLflow's own pages in a real browser: two jobs of a small sweep side by side, with parameters and curves."""

import argparse
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mlflow", reason="mlflow is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the path"),
]

from orchestrator.commands import load  # noqa: E402
from tests.orchestrator.mlflow_scenes import Server, free_port, until  # noqa: E402

SPEC = """\
name: side-by-side
datasets: [embedded/digits]
backbones: [raw_pixels]
methods: [{linear: {train: {lr: 1e-3}, label: slow}}, {linear: {train: {lr: 1e-2}, label: quick}}]
train: {epochs: 2}
"""
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    *("--window-size=1500,2300", "--virtual-time-budget=60000", "--dump-dom"),
]


def command(*words):
    parser = argparse.ArgumentParser()
    load(words[0]).register(parser.add_subparsers())
    args = parser.parse_args(words)
    return args.run(args)


@pytest.fixture
def home(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    home = tmp_path / "home"
    assert command("run", str(tmp_path / "spec.yaml"), "--pool", "inline", "--device", "cpu", "--home", str(home)) == 0
    assert command("mlflow", "sync", "--home", str(home)) == 0
    return home


@pytest.fixture
def ui(home):
    """The command `sweepboard ui`, as a process; its address."""
    server = Server(home, free_port())
    code = "import sys; from tests.orchestrator.test_mlflow_browser import command; command(*sys.argv[1:])"
    words = ["ui", "--home", str(home), "--port", str(server.port)]
    server.process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(server.answers, 120)
    yield server.uri
    server.kill()


def page(address, folder):
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", address],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def test_two_children_stand_side_by_side_with_parameters_and_curves(home, ui, tmp_path):
    with sqlite3.connect(home / "mlflow.db") as connection:
        found = connection.execute("SELECT run_uuid FROM tags WHERE key = 'sweepboard.job'").fetchall()
    connection.close()
    first, second = (row[0] for row in found)
    chosen = f"runs=%5B%22{first}%22,%22{second}%22%5D&experiments=%5B%221%22%5D"
    compared = page(f"{ui}/#/compare-runs?{chosen}", tmp_path / "a")
    for text in (first, second, "train.lr", "0.001", "0.01", "raw_pixels", "test_top1_pct", "quick /", "slow /"):
        assert text in compared, text
    axes = "x_axis=step&y_axis_scale=linear&line_smoothness=1&show_point=true&plot_layout=%7B%22autosize%22:true%7D"
    metric = "metric=%22train_loss%22&plot_metric_keys=%5B%22train_loss%22%5D"
    curves = page(f"{ui}/#/metric?{chosen}&{metric}&{axes}", tmp_path / "b")
    drawn = set(re.findall(r'<path class="js-line"[^>]* d="(M[^"]+L[^"]+)"', curves))  # plotly's curves
    assert len(drawn) == 2
    for row in ("quick", "slow"):
        assert f"{row} / raw_pixels / embedded/digits / s0" in curves
