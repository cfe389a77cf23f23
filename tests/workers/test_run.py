"""One job, from record to result: repeatable, honest, stoppable, and never raising."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from storage.records import ArtifactKey, BackboneRef, FailureClass, Phase, Result, Status, frozen
from storage.records.metrics import METRICS, SEGMENTATION_METRICS, SPEED_METRICS
from workers.backbones import build_model
from workers.checkpoint import restore
from workers.pools.protocol import Verdict
from workers.predictions import load_predictions
from workers.weights import reference

_COSTS = {name for name, metric in METRICS.items() if metric.is_cost}

_IN_A_FRESH_PROCESS = """
import json, sys
from pathlib import Path
from storage.records import Job, Lease
from workers.pools.protocol import Verdict
from workers.weights import reference
from workers.run import run_job
from workers.site import Site
given = json.loads(sys.argv[1])
job = Job.from_json(given["job"])
site = Site(Path(given["home"]), Path(given["cache"]), data={job.dataset.name: Path(given["data"])})
result = run_job(job, Lease(job.job_id, 1, "fresh", 0.0), site, lambda _: Verdict.CONTINUE)
print(json.dumps(result.to_json()))
"""


def _numbers(result: Result) -> dict[str, float]:
    assert result.failure is None, result.failure
    return {name: value for name, value in result.metrics.items() if name not in _COSTS}


def _delta(result: Result, site) -> bytes:
    return (site.home / result.files["delta"]).read_bytes()


def test_a_job_is_repeatable_bit_for_bit_whatever_ran_before_and_in_a_fresh_process(
    a_job, run, site, data_root, tmp_path
):
    recipe = {"augment": "crop_flip", "mixup_alpha": 0.5, "drop_path": 0.2, "epochs": 2}
    first, other = a_job("lora", rank=2, recipe=recipe), a_job("full", seed=1)
    alone = run(first)
    delta = _delta(alone, site)
    run(other)
    torch.rand(7)  # whatever the process drew
    after_another = run(first)
    there = tmp_path / "elsewhere"
    given = {"job": first.to_json(), "home": str(there), "cache": str(there), "data": str(data_root / "corners")}
    answer = subprocess.run(
        [sys.executable, "-c", _IN_A_FRESH_PROCESS, json.dumps(given)], capture_output=True, text=True, check=True
    )
    fresh = Result.from_json(json.loads(answer.stdout))
    assert _numbers(alone) == _numbers(after_another) == _numbers(fresh)
    assert delta == _delta(after_another, site) == (there / fresh.files["delta"]).read_bytes()
    assert alone.files["predictions"] == fresh.files["predictions"], "named by content"


def test_another_seed_gives_another_model(a_job, run, site):
    one, two = run(a_job("lora", rank=2)), run(a_job("lora", rank=2, seed=1))
    assert _delta(one, site) != _delta(two, site)


def test_a_job_learns(a_job, run, site):
    shipped = reference("nano_vit", None, site.cache)
    result = run(a_job("full", backbone=shipped, recipe={"epochs": 8, "lr": 5e-4}))
    assert result.metrics["test_top1_pct"] > 60, "chance is 25"


def test_metrics_are_those_of_the_one_list_and_complete(a_job, run):
    result = run(a_job("lora", rank=2))
    elsewhere = {"train_loss", "train_top1_pct", "lr", "val_loss", "val_top1_pct", "test_peek_top1_pct", "test_mce_pct"}
    expected = set(METRICS) - elsewhere - set(SEGMENTATION_METRICS)
    assert set(result.metrics) == expected - {"peak_mem_mib", *SPEED_METRICS}
    assert set(result.epochs[0].metrics) == {"train_loss", "train_top1_pct", "lr"}
    assert result.metrics["head_params"] == 96 * 4 + 4
    assert result.metrics["trainable_params"] == 6 * (2 * 96 + 3 * 96 * 2), "rank 2 on six fused qkv layers"
    assert set(result.facts) >= {"torch", "timm", "sweepboard", "python", "device", "threads", "data_hash"}


def test_only_what_is_declared_moves(a_job, run, site):
    job = a_job("lora", rank=2, recipe={"weight_decay": 0.1, "ema_decay": 0.9, "epochs": 2})
    result = run(job)
    base = build_model(job, site).state_dict()
    adapted, _ = restore(site.home / result.files["delta"], site)
    moved = set(adapted.moving)
    after = adapted.model.state_dict()
    unmoved = [name for name in base if name in after and name not in moved]
    assert len(unmoved) > 60
    assert all(torch.equal(base[name], after[name]) for name in unmoved)
    assert set(load_file(site.home / result.files["delta"])) == {f"trained/{name}" for name in moved}


def test_a_search_job_scores_val_after_every_epoch_and_the_last_is_its_number(a_job, run):
    result = run(a_job("linear", phase=Phase.SEARCH, recipe={"epochs": 3}))
    curve = [epoch.metrics["val_top1_pct"] for epoch in result.epochs]
    assert len(curve) == 3
    assert curve[-1] == result.metrics["val_top1_pct"]
    assert not {"test_top1_pct", "test_loss"} & set(result.metrics)


def test_a_search_job_keeps_what_it_predicted_of_val_and_nothing_else(a_job, run, site):
    result = run(a_job("linear", phase=Phase.SEARCH))
    kept = load_predictions(site.home / result.files["predictions"])
    assert 100 * (kept.predicted == kept.labels).mean() == pytest.approx(result.metrics["val_top1_pct"])
    assert set(result.files) == {"predictions", "log"}


@pytest.mark.parametrize(
    "splits", [{"score_split": "test"}, {"train_split": "train800val200"}, {"train_split": "test"}]
)
def test_a_search_job_that_reaches_for_more_than_it_may_see_fails_as_a_user_error(a_job, run, splits):
    result = run(a_job("linear", phase=Phase.SEARCH, **splits))
    assert result.status == Status.FAILED
    assert result.failure.failure_class == FailureClass.USER_ERROR
    assert "may read train800, val200" in result.failure.message


def test_an_honest_final_job_opens_the_test_split_after_the_last_epoch(a_job, run, site, monkeypatch):
    monkeypatch.setattr("workers.reporting._LEAST_INTERVAL_S", 0.0)  # else fast epochs are held back
    entries: list[int] = []

    def count(progress):
        if progress.epoch is not None:
            entries.append(len(list((site.cache / "images").glob("*/card.json"))))
        return Verdict.CONTINUE

    run(a_job("linear", recipe={"epochs": 2}), count)
    assert entries == [1, 1], "only the training split was in the cache while the job trained"


def test_the_paper_protocol_reads_test_every_epoch_and_keeps_the_best_beside_the_last(a_job, run):
    result = run(a_job("full", protocol="paper", recipe={"epochs": 3}))
    curve = [epoch.metrics["test_top1_pct"] for epoch in result.epochs]
    assert result.metrics["test_peek_top1_pct"] == max(curve)
    assert result.metrics["test_top1_pct"] == curve[-1]


def test_stop_ends_the_job_as_cancelled(a_job, run, site):
    job = a_job("full", recipe={"epochs": 50})
    heard = []

    def stop_after_one_epoch(progress):
        heard.append(progress)
        return Verdict.STOP if progress.epoch is not None else Verdict.CONTINUE

    result = run(job, stop_after_one_epoch)
    assert result.status == Status.CANCELLED
    assert sum(progress.epoch is not None for progress in heard) == 1
    assert not site.delta_path(job.job_id).exists()


def test_a_loss_that_is_no_number_fails_as_diverged(a_job, run):
    result = run(a_job("full", recipe={"lr": 1e3, "optimizer": "sgd", "epochs": 3}))
    assert result.failure.failure_class == FailureClass.DIVERGED
    assert "lower lr" in result.failure.message


def test_the_result_is_spooled_and_the_log_kept_also_when_the_job_fails(a_job, run, site):
    job = a_job("linear", phase=Phase.EVALUATE)
    result = run(job)
    assert result.failure.failure_class == FailureClass.USER_ERROR
    spooled = json.loads(site.spool_path(job.job_id, 1).read_text())
    assert Result.from_json(spooled["result"]) == result
    assert (spooled["lease_epoch"], spooled["owner"]) == (1, "test")
    assert "an evaluate job must name its parent" in (site.home / result.files["log"]).read_text()


def test_a_home_that_cannot_be_written_is_a_failure_and_no_exception(a_job, run, site, tmp_path):
    (tmp_path / "file").write_text("")
    result = run(a_job("linear"), at=replace(site, home=tmp_path / "file"))
    assert result.status == Status.FAILED
    assert result.failure.failure_class == FailureClass.TRANSIENT
    assert "not written" in result.facts["spool"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipe": {"precision": "fp16"}}, "needs a CUDA device"),
        ({"recipe": {"augment": "shift_flip"}}, "recipe.augment is 'shift_flip', which needs resize: crop"),
        ({"recipe": {"lr": -1.0}}, "recipe.lr"),
        ({"trainer_revision": 0}, "plan again"),
    ],
)
def test_what_cannot_be_run_as_written_is_refused(a_job, run, changes, words):
    result = run(a_job("linear", **changes))
    assert result.failure.failure_class == FailureClass.USER_ERROR
    assert words in result.failure.message


def test_bf16_trains_on_this_device_and_differs_from_fp32(a_job, run):
    half, single = run(a_job("full", recipe={"precision": "bf16"})), run(a_job("full"))
    assert half.metrics["test_loss"] != single.metrics["test_loss"]
    assert half.metrics["test_loss"] == pytest.approx(single.metrics["test_loss"], rel=0.1)


def test_linear_on_raw_pixels_is_logistic_regression(a_job, run):
    result = run(a_job("linear", backbone=BackboneRef("raw_pixels", "none"), recipe={"epochs": 10, "lr": 1e-3}))
    assert result.metrics["test_top1_pct"] == 100
    assert result.metrics["head_params"] == 3 * 32 * 32 * 4 + 4


def test_a_prepare_job_makes_the_artifact_that_a_final_job_needs(a_job, run, site):
    key = ArtifactKey("gps_scores", frozen({"of": "this test"}))
    early = run(a_job("gps", needs=(key,)))
    assert early.failure.failure_class == FailureClass.TRANSIENT
    made = run(a_job("gps", phase=Phase.PREPARE, score_split="", makes=key))
    assert made.files["artifact"] == f"artifacts/{key.key_id}.safetensors"
    result = run(a_job("gps", needs=(key,)))
    assert result.metrics["trainable_params"] > 0
    adapted, _ = restore(site.home / result.files["delta"], site)
    assert sum(value.numel() for value in adapted.trained.values()) == result.metrics["trainable_params"]
