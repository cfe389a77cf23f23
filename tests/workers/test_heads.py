"""A head on features is trained by a short way that must give what the ordinary one gives, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from methods.api import Adaptation
from storage.records import Lease
from workers.adapted import AdaptedModel
from workers.clock import Stopwatch
from workers.data.batches import Batches
from workers.data.stocks import ImageSet
from workers.errors import Diverged
from workers.features import FeatureFeed, head_of
from workers.feeds import Subject
from workers.pools.protocol import Verdict
from workers.reporting import Reporter, Stopped
from workers.train import Trainer

CPU = torch.device("cpu")


class Headed(nn.Module):
    """What a trainer asks of a model: its heads."""

    def __init__(self, *heads):
        super().__init__()
        self.heads = nn.ModuleList(heads)

    def get_classifier(self):
        return self.heads[0] if len(self.heads) == 1 else tuple(self.heads)


def a_model(width, classes, seed, heads=1):
    torch.manual_seed(seed)
    model = Headed(*(nn.Linear(width, classes) for _ in range(heads)))
    moving = dict(model.named_parameters())
    return AdaptedModel(model, (), Adaptation(), {}, moving, 0)


def a_feed(job, count, width, heads=1):
    draws = np.random.default_rng(5)
    labels = draws.integers(0, job.dataset.classes, count)
    batches = Batches(ImageSet(np.zeros((count, 1, 1, 3), np.uint8), labels), job, CPU)
    features = draws.standard_normal((count, heads, width), dtype=np.float32)
    features[:, :, 0] += labels[:, None]
    return FeatureFeed(torch.from_numpy(features), batches, job)


def trained(job, count=200, width=48, *, short, heads=1, report=lambda _: Verdict.CONTINUE):
    """All trained values, the metrics of all epochs, and the bytes of the optimizer's state."""
    adapted = a_model(width, job.dataset.classes, job.seed, heads)
    head = head_of(adapted.model)
    reporter = Reporter(job, Lease(job.job_id, 1, "test", 0.0), report)
    trainer = Trainer(adapted, Subject(head, head, is_head_only=short), job, CPU)
    done = trainer.run(a_feed(job, count, width, heads), reporter, Stopwatch(), dict)
    values = torch.cat([value.detach().flatten() for value in adapted.moving.values()])
    return values, [epoch.metrics for epoch in done.epochs], done.optimizer_state_bytes


def a_probe(a_job, classes=10, seed=0, **recipe):
    job = a_job("linear", recipe={"epochs": 4, "batch_size": 32, "lr": 1e-2, **recipe})
    return replace(job, seed=seed, dataset=replace(job.dataset, classes=classes))


RECIPES = {
    "adamw": {},
    "adam with decay": {"optimizer": "adam", "weight_decay": 1e-2},
    "sgd with momentum": {"optimizer": "sgd", "lr": 0.5},
    "sgd without momentum": {"optimizer": "sgd", "momentum": 0.0},
    "no decay": {"weight_decay": 0.0},
    "label smoothing": {"label_smoothing": 0.1},
    "clipped gradients": {"clip_grad_norm": 0.05},
    "running average": {"ema_decay": 0.9},
    "warm-up and cooldown": {"warmup_epochs": 1.5, "cooldown_epochs": 2, "min_lr": 1e-4, "schedule_unit": "epoch"},
    "bf16": {"precision": "bf16"},
    "bf16 with smoothing": {"precision": "bf16", "label_smoothing": 0.2, "optimizer": "sgd"},
    "batches of 24": {"batch_size": 24, "label_smoothing": 0.1},
    "one batch of all": {"batch_size": 512},
    "batches of 1, more steps than are counted at once": {"batch_size": 1, "epochs": 2, "lr": 1e-4},
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_the_short_way_gives_the_same_bits_as_autograd_and_the_optimizer(a_job, recipe):
    job = a_probe(a_job, **recipe)
    values, metrics, state_bytes = trained(job, short=True)
    expected, expected_metrics, expected_bytes = trained(job, short=False)
    assert torch.equal(values, expected)
    assert metrics == expected_metrics
    assert state_bytes == expected_bytes
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"], "it learns"


@pytest.mark.parametrize(("count", "width", "classes"), [(200, 192, 102), (130, 768, 7), (90, 33, 5), (64, 7, 2)])
def test_the_same_bits_at_every_size(a_job, count, width, classes):
    job = a_probe(a_job, classes, weight_decay=1e-3)
    values, metrics, _ = trained(job, count, width, short=True)
    expected, expected_metrics, _ = trained(job, count, width, short=False)
    assert torch.equal(values, expected)
    assert metrics == expected_metrics


def test_two_heads_and_fp16_are_trained_the_ordinary_way(a_job):
    job = a_probe(a_job)
    assert torch.equal(trained(job, short=True, heads=2)[0], trained(job, short=False, heads=2)[0])


@pytest.mark.parametrize("short", [True, False])
def test_a_loss_that_is_no_number_ends_the_job_as_diverged(a_job, short):
    with pytest.raises(Diverged, match=r"in epoch [12]"):
        trained(a_probe(a_job, optimizer="sgd", lr=1e30, schedule="constant", warmup_epochs=0.0), short=short)


def test_a_job_on_features_stops_between_two_steps_when_it_is_told_to(a_job):
    heard = []

    def report(progress):
        heard.append(progress)
        return Verdict.STOP

    with pytest.raises(Stopped):
        trained(a_probe(a_job, epochs=1000), short=True, report=report)
    assert [progress.epoch for progress in heard] == [None], "the first word is a step, and the last"
