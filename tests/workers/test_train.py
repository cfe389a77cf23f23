"""Training of the head on features that were computed once, against training through the whole model."""

from __future__ import annotations

import pytest
import torch

from storage.records import Lease
from workers.adapted import adapt
from workers.backbones import build_model
from workers.clock import Stopwatch
from workers.data.batches import Batches
from workers.data.splits import open_split
from workers.data.training import JobTrainingData
from workers.feeds import FeatureFeed, subject_of
from workers.phases import subject_on_images
from workers.pools.protocol import Verdict
from workers.reporting import Reporter
from workers.train import Trainer

CPU = torch.device("cpu")


def _trained_head(job, site, *, is_cached: bool) -> tuple[torch.Tensor, list[float]]:
    batches = Batches(open_split(job, job.train_split, site, lambda done, total: None), job, CPU)
    adapted = adapt(build_model(job, site), job, JobTrainingData(job, batches, {}, lambda *_: None))
    reporter = Reporter(job, Lease(job.job_id, 1, "test", 0.0), lambda _: Verdict.CONTINUE)
    subject = subject_of(adapted, job) if is_cached else subject_on_images(adapted)
    assert subject.is_head_only == is_cached
    feed = FeatureFeed(adapted.model, batches, job, reporter) if is_cached else batches
    training = Trainer(adapted, subject, job, CPU).run(feed, reporter, Stopwatch(), dict)
    return adapted.model.get_classifier().weight.detach(), [epoch.metrics["train_loss"] for epoch in training.epochs]


def test_the_cached_path_equals_the_whole_model(a_job, site):
    job = a_job("linear", recipe={"epochs": 4})
    cached_weight, cached_losses = _trained_head(job, site, is_cached=True)
    weight, losses = _trained_head(job, site, is_cached=False)
    assert cached_losses == pytest.approx(losses, rel=1e-5)
    assert torch.allclose(cached_weight, weight, atol=1e-4)


@pytest.mark.parametrize("recipe", [{"augment": "flip"}, {"mixup_alpha": 0.2}, {"drop_path": 0.1}])
def test_features_are_not_kept_where_a_batch_can_change(a_job, site, recipe):
    job = a_job("linear", recipe=recipe)
    batches = Batches(open_split(job, job.train_split, site, lambda done, total: None), job, CPU)
    adapted = adapt(build_model(job, site), job, JobTrainingData(job, batches, {}, lambda *_: None))
    assert not subject_of(adapted, job).is_head_only


def test_methods_that_train_something_see_images(a_job, site):
    job = a_job("lora", rank=2)
    batches = Batches(open_split(job, job.train_split, site, lambda done, total: None), job, CPU)
    adapted = adapt(build_model(job, site), job, JobTrainingData(job, batches, {}, lambda *_: None))
    assert not subject_of(adapted, job).is_head_only


def test_progress_comes_at_most_five_times_a_second_between_epochs(a_job, run):
    heard = []

    def listen(progress):
        heard.append(progress)
        return Verdict.CONTINUE

    result = run(a_job("linear", recipe={"epochs": 60, "batch_size": 1}), listen)
    between = [progress for progress in heard if progress.epoch is None]
    assert len(heard) - len(between) == 60
    assert len(between) <= 5 * result.metrics["wall_s"] + 1
    assert {progress.stage for progress in heard} <= {"load", "features", "train", "evaluate"}
