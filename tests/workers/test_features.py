"""Frozen features: what a linear probe learns from them is what it learns from images, and they are made once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from storage.records import FEATURES, METRICS, ArtifactKey, Lease, Phase, frozen
from workers.adapted import adapt
from workers.backbones import build_model
from workers.clock import Stopwatch
from workers.data.batches import Batches
from workers.data.splits import open_split
from workers.data.training import JobTrainingData
from workers.features import FeatureFeed, classifiers, computed
from workers.feeds import subject_of, subject_on_images
from workers.pools.protocol import Verdict
from workers.reporting import Reporter
from workers.train import Trainer

CPU = torch.device("cpu")


def opened(job, site, split):
    return Batches(open_split(job, split, site, lambda done, total: None), job, CPU)


def adapted_by_job(job, site, batches):
    return adapt(build_model(job, site), job, JobTrainingData(job, batches, {}, lambda *_: None))


def reporter_of(job):
    return Reporter(job, Lease(job.job_id, 1, "test", 0.0), lambda _: Verdict.CONTINUE)


def key_of(split, **more):
    return ArtifactKey(FEATURES, frozen({"split": split, **more}))


def made(run, job, split):
    """The key of features of that split, made by a prepare job as a plan writes it."""
    key = key_of(split)
    maker = replace(job, phase=Phase.PREPARE, methods=(), train_split=split, score_split="", makes=key, seed=0)
    result = run(maker)
    assert result.failure is None, result.failure
    return key


def trained_head(job, site, *, on_features):
    batches = opened(job, site, job.train_split)
    adapted = adapted_by_job(job, site, batches)
    subject = subject_of(adapted, job) if on_features else subject_on_images(adapted)
    assert subject.is_head_only == on_features
    feed = batches
    if on_features:
        feed = FeatureFeed(computed(adapted.model, batches, job, reporter_of(job)), batches, job)
    training = Trainer(adapted, subject, job, CPU).run(feed, reporter_of(job), Stopwatch(), dict)
    weights = torch.cat([head.weight.detach() for head in classifiers(adapted.model)])
    return weights, [epoch.metrics["train_loss"] for epoch in training.epochs], adapted


@pytest.mark.parametrize("backbone", ["nano_vit", "deit_tiny_distilled_patch16_224"])
def test_a_head_learns_from_features_what_it_learns_through_the_whole_model(a_job, site, backbone):
    plain = a_job("linear", recipe={"epochs": 3})
    job = replace(plain, backbone=replace(plain.backbone, name=backbone))
    on_features, losses, adapted = trained_head(job, site, on_features=True)
    on_images, losses_on_images, _ = trained_head(job, site, on_features=False)
    assert losses == pytest.approx(losses_on_images, rel=1e-5)
    assert torch.allclose(on_features, on_images, atol=1e-4)
    batch = next(opened(job, site, "test").in_order()).images
    adapted.model.eval()
    features = computed(adapted.model, opened(job, site, "test"), job, reporter_of(job))
    with torch.no_grad():
        assert torch.allclose(subject_of(adapted, job).forward(features), adapted.model(batch), atol=1e-5)


def test_a_job_gives_the_same_numbers_from_shared_features_and_without(a_job, run, site):
    job = a_job("linear", recipe={"epochs": 3})
    alone = run(job)
    sharing = replace(job, needs=(made(run, job, "train800val200"), made(run, job, "test")))
    shared = run(sharing)
    alone_found, shared_found = (
        {name: value for name, value in one.metrics.items() if not METRICS[name].is_cost and name != "delta_bytes"}
        for one in (alone, shared)
    )
    assert alone_found == shared_found
    assert alone.files["predictions"] == shared.files["predictions"], "named by content"


def test_shared_features_are_what_is_read(a_job, run, site):
    job = a_job("linear", recipe={"epochs": 1})
    keys = made(run, job, "train800val200"), made(run, job, "test")
    before = run(replace(job, needs=keys))
    path = site.artifact_path(keys[1].key_id)
    stored = load_file(path)[FEATURES]
    save_file({FEATURES: stored.flip(0).contiguous()}, path)
    after = run(replace(job, needs=keys))
    assert before.metrics["test_loss"] != after.metrics["test_loss"]
    save_file({FEATURES: stored[1:].contiguous()}, path)
    failed = run(replace(job, needs=keys))
    assert "features of 19 images, and the split has 20" in failed.failure.message


def test_a_deleted_artifact_costs_time_and_changes_no_number(a_job, run, site):
    job = a_job("linear", recipe={"epochs": 2})
    sharing = replace(job, needs=(made(run, job, "train800val200"), made(run, job, "test")))
    before = run(sharing)
    for key in sharing.needs:
        site.artifact_path(key.key_id).unlink()
    after = run(sharing)
    assert after.failure is None, after.failure
    assert after.files["predictions"] == before.files["predictions"], "named by content"
    assert "made again" in (site.home / after.files["log"]).read_text()


def test_one_head_gives_one_row_per_image_and_two_heads_two(a_job, site):
    plain = a_job("linear")
    for backbone, heads, width in (("nano_vit", 1, 96), ("deit_tiny_distilled_patch16_224", 2, 192)):
        job = replace(plain, backbone=replace(plain.backbone, name=backbone))
        features = computed(build_model(job, site), opened(job, site, "test"), job, reporter_of(job))
        assert features.shape == (20, heads, width)


def test_a_job_of_features_reads_the_split_in_its_key_and_no_other(a_job, run):
    job = a_job("linear")
    maker = replace(
        job, phase=Phase.PREPARE, methods=(), train_split="test", score_split="", makes=key_of("train800val200")
    )
    assert "asked for split 'test'" in run(maker).failure.message


@pytest.mark.parametrize("recipe", [{"augment": "flip"}, {"mixup_alpha": 0.2}, {"drop_path": 0.1}])
def test_features_are_not_kept_where_a_batch_can_change(a_job, site, recipe):
    job = a_job("linear", recipe=recipe)
    assert not subject_of(adapted_by_job(job, site, opened(job, site, job.train_split)), job).is_head_only


def test_methods_that_train_something_see_images(a_job, site):
    job = a_job("lora", rank=2)
    assert not subject_of(adapted_by_job(job, site, opened(job, site, job.train_split)), job).is_head_only


def test_heads_that_are_not_linear_see_images(a_job, site):
    job = a_job("linear")
    adapted = adapted_by_job(job, site, opened(job, site, job.train_split))
    adapted.model.head = nn.Sequential(adapted.model.head)
    assert not subject_of(adapted, job).is_head_only
