"""Weights files and normalisation that a spec gives: part of a job's identity, and said on the board."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.plan import plan
from orchestrator.spec import parse_spec
from orchestrator.spec_problems import SpecError
from orchestrator.testing import shipped_catalogue
from storage.records import Job

IMAGENET = "mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]"
SPEC = """\
name: own
datasets: [embedded/digits]
backbones: [{name: nano_vit, weights: mine.pth, std: [0.25, 0.25, 0.25]}]
methods: [linear]
train: {epochs: 1}
"""


def jobs_of(backbones: str) -> list[Job]:
    text = f"name: x\ndatasets: [embedded/digits]\nbackbones: [{backbones}]\nmethods: [linear]\n"
    return [entry.job for entry in plan(parse_spec(text), shipped_catalogue()).entries if entry.job.makes is None]


def test_mean_and_std_of_the_spec_replace_the_checkpoints_and_make_another_job() -> None:
    own, forced = jobs_of(f"vit_base_patch16_224, {{name: vit_base_patch16_224, {IMAGENET}}}")
    assert (own.backbone.mean, own.backbone.forced) == ((0.5, 0.5, 0.5), False)
    assert (forced.backbone.mean, forced.backbone.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert forced.backbone.forced
    assert own.job_id != forced.job_id and own.protocol_id != forced.protocol_id
    assert Job.from_json(forced.to_json()) == forced


def test_the_checkpoints_own_mean_and_std_written_out_are_the_same_job() -> None:
    usual, written = "deit_tiny_patch16_224", f"{{name: deit_tiny_patch16_224, {IMAGENET}}}"
    (job,) = jobs_of(usual)
    assert "forced" not in job.to_json()["backbone"]
    assert [one.job_id for one in jobs_of(f"{usual}, {written}")] == [job.job_id]


def test_one_of_the_two_leaves_the_other_as_the_checkpoint_has_it() -> None:
    (job,) = jobs_of("{name: deit_tiny_patch16_224, std: [1, 1, 1]}")
    assert (job.backbone.mean, job.backbone.std) == ((0.485, 0.456, 0.406), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    "given",
    [
        "mean: 0.5",
        "mean: [0.5]",
        "mean: [123.7, 116.3, 103.5]",
        "std: [0.2, 0, 0.2]",
        "std: [a, b, c]",
        "std: [.nan, 1, 1]",
    ],
)
def test_values_that_no_pixel_can_have_are_problems(given: str) -> None:
    with pytest.raises(SpecError, match="expected red, green and blue of pixels from 0 to 1"):
        jobs_of(f"{{name: nano_vit, {given}}}")


@pytest.mark.slow
def test_a_sweep_on_a_file_of_ones_own_says_what_was_forced_and_is_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from safetensors.torch import load_file

    from workers.embedded.catalogue import EMBEDDED

    (tmp_path / "weights").mkdir()
    torch.save({"state_dict": load_file(EMBEDDED["nano_vit"].weights)}, tmp_path / "weights" / "mine.pth")
    (tmp_path / "own.yaml").write_text(SPEC)
    monkeypatch.setenv("SWEEPBOARD_WEIGHTS", str(tmp_path / "weights"))
    home = ["--home", str(tmp_path / "home")]
    spec = str(tmp_path / "own.yaml")
    assert main(["run", "--pool", "inline", "--mlflow", "off", spec, "--device", "cpu", *home]) == 0
    assert main(["leaderboard", "own", "--format", "csv", *home]) == 0
    lines = capsys.readouterr().out.splitlines()
    header, row = (next(line for line in lines if start in line) for start in ("suite,group", "nano_vit"))
    job_id = row.split(",")[header.split(",").index("job_id")]
    assert "nano_vit (mean/std forced)" in row
    assert main(["show", job_id, *home]) == 0
    assert "forced mean [0.5, 0.5, 0.5] std [0.25, 0.25, 0.25]" in capsys.readouterr().out
    assert main(["export", job_id, "--to", str(tmp_path / "out"), *home]) == 0
    assert "methods that remain: none" in capsys.readouterr().out
