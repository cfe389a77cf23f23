"""Segmentation jobs from their record to their result, on nano_vit and drawn discs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from storage.records import ArtifactKey, BackboneRef, Job, Phase, Result, Status, frozen
from workers.checkpoint import load_tensors, restore
from workers.errors import ExportFailed
from workers.export import ExportRequest, export
from workers.site import Site

METHODS = ["linear", "lora", "bitfit", "full", "gps"]
SCORES = {f"test_{name}_pct" for name in ("dice", "iou", "dice_pooled", "iou_pooled", "dice_release")}


@pytest.fixture
def scored(masked_job: Callable[..., Job], run: Callable[..., Result]) -> Callable[..., Job]:
    """scored(params, **changes): a GPS job whose scores a prepare job has just made."""

    def make(params: dict[str, object] | None = None, **changes: object) -> Job:
        job = masked_job("gps", params, **changes)
        key = ArtifactKey("gps_scores", frozen({"split": job.train_split, "params": str(params), "at": job.job_id}))
        prepare = replace(job, phase=Phase.PREPARE, makes=key, score_split="")
        made = run(prepare)
        assert made.status is Status.DONE, made.failure
        return replace(job, needs=(key,))

    return make


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_is_scored(
    method: str, masked_job: Callable[..., Job], scored: Callable[..., Job], run: Callable[..., Result]
):
    result = run(scored() if method == "gps" else masked_job(method))
    assert result.status is Status.DONE, result.failure
    assert set(result.metrics) >= SCORES | {"test_loss", "trainable_params", "head_params", "macs"}
    assert "test_top1_pct" not in result.metrics
    assert (result.metrics["trainable_params"] == 0) == (method == "linear")
    assert set(result.epochs[-1].metrics) == {"train_loss", "train_dice_pct", "lr"}


def test_a_job_learns_to_find_the_discs(masked_job: Callable[..., Job], run: Callable[..., Result]):
    result = run(masked_job("full", recipe={"epochs": 8, "batch_size": 4, "image_size": 24}))
    assert result.metrics["test_dice_pct"] > 80
    assert result.metrics["test_iou_pct"] < result.metrics["test_dice_pct"]
    losses = [epoch.metrics["train_loss"] for epoch in result.epochs]
    assert losses[-1] < 0.5 * losses[0]


def test_the_scores_kept_per_image_are_those_of_the_metrics(
    masked_job: Callable[..., Job], run: Callable[..., Result], site: Site
):
    result = run(masked_job("linear", recipe={"epochs": 2}))
    with np.load(site.home / result.files["mask_counts"]) as kept:
        hit, added, missed = (kept[name] for name in ("true_positives", "false_positives", "false_negatives"))
    whole = 2 * hit + added + missed
    shares = np.divide(2 * hit, whole, out=np.ones(len(hit)), where=whole > 0)
    assert len(hit) == 12
    assert result.metrics["test_dice_pct"] == pytest.approx(100 * shares.mean())


def test_overlays_show_the_image_its_truth_and_the_prediction(
    masked_job: Callable[..., Job], run: Callable[..., Result], site: Site
):
    result = run(masked_job("linear", recipe={"image_size": 32}))
    with Image.open(site.home / result.files["overlays"]) as sheet:
        assert sheet.size == (3 * 32 + 2 * 4, 8 * (32 + 4)), "the first eight test images"
        image, truth = (np.asarray(sheet)[:32, start : start + 32].astype(int) for start in (0, 36))
    is_painted = (image != truth).any(axis=2)
    assert 0 < is_painted.mean() < 0.6
    assert (truth[is_painted][:, 1] > truth[is_painted][:, 0]).mean() > 0.9, "green"


def test_a_search_scores_dice_on_val_and_keeps_no_pictures(masked_job: Callable[..., Job], run: Callable[..., Result]):
    result = run(masked_job("linear", phase=Phase.SEARCH, recipe={"epochs": 2}))
    assert result.status is Status.DONE, result.failure
    assert "val_dice_pct" in result.metrics
    assert [set(epoch.metrics) >= {"val_dice_pct", "val_iou_pct"} for epoch in result.epochs] == [True, True]
    assert set(result.files) == {"log"}


def test_protocol_paper_stores_the_best_test_dice_beside_the_last(
    masked_job: Callable[..., Job], run: Callable[..., Result]
):
    result = run(masked_job("linear", protocol="paper", recipe={"epochs": 2}))
    assert result.metrics["test_peek_dice_pct"] == max(epoch.metrics["test_dice_pct"] for epoch in result.epochs)


@pytest.mark.parametrize("method", ["lora", "gps"])
def test_a_delta_gives_the_trained_model_bit_for_bit(
    method: str, masked_job: Callable[..., Job], run: Callable[..., Result], site: Site
):
    checked = run(masked_job(method, phase=Phase.PREFLIGHT, score_split="", train_split="train800val200"))
    assert checked.status is Status.DONE, checked.failure


def test_a_restored_model_has_what_was_trained(masked_job: Callable[..., Job], run: Callable[..., Result], site: Site):
    result = run(masked_job("full"))
    adapted, _ = restore(site.home / result.files["delta"], site)
    kept = load_tensors(site.home / result.files["delta"])
    assert {name.removeprefix("trained/") for name in kept} == set(adapted.moving)
    assert all(torch.equal(value.detach(), kept[f"trained/{name}"]) for name, value in adapted.moving.items())


def test_gps_chooses_by_the_gradient_of_the_masks_loss(
    masked_job: Callable[..., Job], scored: Callable[..., Job], run: Callable[..., Result], site: Site
):
    """Orders differ from those of magnitude, and not with the number of images per batch: gradients are summed."""
    orders = [load_tensors(site.artifact_path(scored(params).needs[0].key_id))
              for params in (None, {"selection_batch_size": 8})]  # fmt: skip
    name = "neuron/image_encoder.blocks.0.mlp.fc1.weight"
    first = [order[name][:, 0] for order in orders]
    assert (first[0] == first[1]).float().mean() > 0.95
    assert len(first[0].unique()) > 5


@pytest.mark.parametrize("loss", ["supcon", "cross_entropy"])
def test_losses_that_need_classes_are_refused_with_the_reason(
    loss: str, masked_job: Callable[..., Job], run: Callable[..., Result]
):
    result = run(masked_job("gps", {"loss": loss, "selection_batch_size": 8}, phase=Phase.PREFLIGHT))
    assert result.failure is not None
    assert "need a class per image" in result.failure.message


def test_the_task_loss_is_refused_where_there_are_classes(a_job: Callable[..., Job], run: Callable[..., Result]):
    job = a_job("gps", phase=Phase.PREFLIGHT)
    result = run(replace(job, methods=(replace(job.methods[0], params=frozen({"loss": "task"})),)))
    assert result.failure is not None
    assert "task a data set with masks" in result.failure.message


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"recipe": {"augment": "crop_flip"}}, "masks are not cropped"),
        ({"recipe": {"mixup_alpha": 0.8}}, "mixup, cutmix and label smoothing are for classes"),
        ({"method": "tome", "params": {"schedule": (1, 1, 1, 1, 1, 1)}}, "needs the token of every patch"),
        ({"backbone": BackboneRef("raw_pixels", "none")}, "reads a map of patches"),
    ],
)
def test_what_masks_cannot_be_trained_with_is_refused(
    changes: dict[str, object], told: str, masked_job: Callable[..., Job], run: Callable[..., Result]
):
    result = run(masked_job(**changes))
    assert result.failure is not None
    assert told in result.failure.message


def test_the_export_of_a_model_that_makes_masks_is_refused_with_the_reason(
    masked_job: Callable[..., Job], site: Site, tmp_path: Path
):
    job = masked_job("linear")
    request = ExportRequest(job, Result(job_id=job.job_id, status=Status.DONE), tmp_path / "out")
    with pytest.raises(ExportFailed, match="only classifiers can be exported in this version"):
        export(request, site)
    assert not (tmp_path / "out").exists()
