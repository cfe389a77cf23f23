"""A linear probe of the real ViT-Ti/16 on seven real data sets, through the whole command, against scikit-learn's.

The reference (class token after the final norm, standardised, LogisticRegression(C=0.1)) shares nothing with our code
but the images and the weights: agreement says that decoding, resizing, normalisation, weights and splits are right.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli import main
from storage.open import open_store
from storage.records import Phase

pytestmark = pytest.mark.slow

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
WEIGHTS = "vit_tiny_patch16_224.augreg_in21k_ft_in1k.fp16.safetensors"
REFERENCE_PCT = {
    "caltech101": 89.6,
    "cifar10": 78.5,
    "dtd10": 89.5,
    "gtsrb43": 44.4,
    "rsscn7": 79.2,
    "wbc4": 70.6,
    "nuclei_count5": 71.0,
}
TOLERANCE_PCT = 2.0
IMAGENET = "mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]"


def probed(home: Path, datasets: str, more: str = "") -> dict[str, float]:
    """Data set -> test top-1 in percent of the probe."""
    spec = home.with_suffix(".yaml")
    spec.write_text(
        f"name: probe\ndatasets: [{datasets}]\nbackbones: [{{name: vit_tiny_patch16_224, weights: {WEIGHTS}{more}}}]\n"
        "methods: [linear]\ntrain: {epochs: 100, lr: 2.5e-3, weight_decay: 0.05, precision: fp32}\n"
    )
    assert main(["run", str(spec), "--home", str(home), "--pool", "inline", "--mlflow", "off"]) == 0
    store = open_store(home / "store.db")
    finals = [state for state in store.jobs("probe") if state.job.phase is Phase.FINAL and state.result]
    store.close()
    return {one.job.dataset.name.partition("/")[2]: one.result.metrics["test_top1_pct"] for one in finals if one.result}


@pytest.fixture(autouse=True)
def shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not (SHARED / "weights" / WEIGHTS).exists():
        pytest.skip(f"needs the real images and the real ViT-Ti/16 in {SHARED}")
    monkeypatch.setenv("SWEEPBOARD_DATA", str(SHARED / "vtab_like"))
    monkeypatch.setenv("SWEEPBOARD_WEIGHTS", str(SHARED / "weights"))
    monkeypatch.setenv("SWEEPBOARD_CACHE", str(tmp_path / "cache"))


def test_all_seven_sets_are_found_by_one_variable_and_come_out_as_by_another_probe(tmp_path: Path) -> None:
    found = probed(tmp_path / "home", '"@local/*"')
    assert found.keys() == REFERENCE_PCT.keys()
    away = {name: round(found[name] - expected, 1) for name, expected in REFERENCE_PCT.items()}
    assert all(abs(points) <= TOLERANCE_PCT for points in away.values()), away


def test_imagenets_mean_and_std_cost_this_model_much_and_the_row_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forced = probed(tmp_path / "home", "local/caltech101", f", {IMAGENET}")
    assert forced["caltech101"] < REFERENCE_PCT["caltech101"] - 8
    capsys.readouterr()
    assert main(["leaderboard", "probe", "--home", str(tmp_path / "home"), "--format", "md"]) == 0
    assert "mean/std forced" in capsys.readouterr().out
