"""A head on features is trained by a short way that must give what the ordinary one gives, bit for bit."""

from __future__ import annotations

import pytest
import torch

from storage.records import Lease
from tests.workers.probe_heads import CPU, RECIPES, a_feed, a_model, a_probe
from workers.clock import Stopwatch
from workers.errors import Diverged
from workers.features import head_of
from workers.feeds import Subject
from workers.pools.protocol import Verdict
from workers.reporting import Reporter, Stopped
from workers.train import Trainer


@pytest.fixture(autouse=True)
def one_thread():
    """In which products of a head are made."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(job, count=200, width=48, *, short, heads=1, report=lambda _: Verdict.CONTINUE):
    """All trained values, the metrics of all epochs, and the bytes of the optimizer's state."""
    adapted = a_model(width, job.dataset.classes, job.seed, heads)
    head = head_of(adapted.model)
    reporter = Reporter(job, Lease(job.job_id, 1, "test", 0.0), report)
    trainer = Trainer(adapted, Subject(head, head, is_head_only=short), job, CPU)
    done = trainer.run(a_feed(job, count, width, heads), reporter, Stopwatch(), dict)
    values = torch.cat([value.detach().flatten() for value in adapted.moving.values()])
    return values, [epoch.metrics for epoch in done.epochs], done.optimizer_state_bytes


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


def test_a_job_on_features_stops_between_two_steps_when_it_is_told_to(a_job, monkeypatch):
    monkeypatch.setattr("workers.reporting._LEAST_INTERVAL_S", 0.0)
    heard = []

    def report(progress):
        heard.append(progress)
        return Verdict.STOP

    with pytest.raises(Stopped):
        trained(a_probe(a_job, epochs=1000), short=True, report=report)
    assert [progress.epoch for progress in heard] == [None], "the first word is a step, and the last"
