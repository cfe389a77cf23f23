"""A real base-only installation, from a wheel, in a fresh environment: no torch, no ray, no mlflow, no checkout."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The `bin` folder of a fresh environment with the wheel's base dependencies only."""
    folder = tmp_path_factory.mktemp("base")
    source = folder / "source"  # building leaves files behind: not in the checkout
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    pip = [str(folder / "env/bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "-c", str(ROOT / "constraints.txt"), str(source)], capture_output=True, text=True, check=False
    )
    if done.returncode and any(word in done.stderr for word in ("Connection", "Temporary failure", "NewConnection")):
        pytest.skip("no package index can be reached: a fresh environment cannot be made")
    assert done.returncode == 0, done.stderr
    return folder / "env/bin"


@pytest.mark.slow
def test_it_has_none_of_the_heavy_packages(base):
    listed = subprocess.run([base / "python", "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    names = {line.split()[0].lower() for line in listed.splitlines()[2:]}
    assert "sweepboard" in names
    assert not names & {"torch", "timm", "ray", "mlflow", "optuna", "scikit-learn"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [["plan", str(ROOT / "orchestrator/examples/demo.yaml")], ["status"], ["methods"], ["backbones"], ["doctor"]],
)
def test_it_plans_and_reports(base, words, tmp_path):
    done = subprocess.run([base / "sweepboard", *words], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.slow
def test_it_prints_the_board_of_a_store_made_elsewhere(base, tmp_path):
    spec = tmp_path / "tiny.yaml"
    spec.write_text("name: tiny\ndatasets: [embedded/digits]\nbackbones: [raw_pixels]\nmethods: [linear]\nseeds: 1\n")
    here = [sys.executable, "-m", "orchestrator.cli", "run", str(spec), "--home", str(tmp_path / "home")]
    subprocess.run(here, check=True, capture_output=True)
    words = [base / "sweepboard", "leaderboard", "tiny", "--format", "md", "--home", str(tmp_path / "home")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "linear" in done.stdout
