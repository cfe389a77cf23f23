"""What a running job says: often enough to be seen alive and to be stopped, and no more than that."""

from __future__ import annotations

import pytest

from storage.records import Lease
from workers.pools.protocol import Verdict
from workers.reporting import Reporter, Stopped


def a_reporter(job, heard, verdict=Verdict.CONTINUE):
    def report(progress):
        heard.append(progress)
        return verdict

    return Reporter(job, Lease(job.job_id, 3, "test", 0.0), report)


def epochs_of(heard):
    return [progress.epoch.epoch for progress in heard if progress.epoch is not None]


def test_fast_epochs_are_held_back_and_passed_on_in_order(a_job):
    heard = []
    reporter = a_reporter(a_job(), heard)
    for epoch in range(1, 200):
        reporter.epoch(epoch, {"train_loss": 1.0}, 200)
    assert len(heard) < 150, "200 epochs in no time are not 200 messages"
    reporter.flush()
    assert epochs_of(heard) == list(range(1, 200))
    assert {progress.lease_epoch for progress in heard} == {3}
    reporter.flush()
    assert len(heard) == 199, "each is passed on once"


def test_a_step_that_is_passed_on_comes_after_the_epochs_before_it(a_job, monkeypatch):
    monkeypatch.setattr("workers.reporting._LEAST_INTERVAL_S", 60.0)
    heard = []
    reporter = a_reporter(a_job(), heard)
    reporter.epoch(1, {"train_loss": 1.0}, 2)
    assert not reporter.step("train", 5, 10)
    assert not heard, "a job that has just begun says nothing yet"
    monkeypatch.setattr("workers.reporting._LEAST_INTERVAL_S", 0.0)
    assert reporter.step("train", 6, 10)
    assert [(progress.stage, progress.done) for progress in heard] == [("train", 1), ("train", 6)]
    assert epochs_of(heard) == [1]


def test_a_stop_is_heard_with_the_first_epoch_that_was_held_back(a_job, monkeypatch):
    monkeypatch.setattr("workers.reporting._LEAST_INTERVAL_S", 60.0)
    heard = []
    reporter = a_reporter(a_job(), heard, Verdict.STOP)
    reporter.epoch(1, {"train_loss": 1.0}, 3)
    monkeypatch.setattr("workers.reporting._LEAST_INTERVAL_S", 0.0)
    with pytest.raises(Stopped):
        reporter.epoch(2, {"train_loss": 1.0}, 3)
    assert epochs_of(heard) == [1], "the rest is not said any more"


def test_a_job_that_fails_has_passed_on_every_epoch_before_it_failed(a_job, run):
    heard = []

    def report(progress):
        heard.append(progress)
        return Verdict.CONTINUE

    exploding = {"optimizer": "sgd", "schedule": "constant", "lr": 1.0, "weight_decay": 10.0, "epochs": 50}
    result = run(a_job("linear", recipe=exploding), report)
    assert "in epoch " in result.failure.message, result.failure.message
    failed_in = int(result.failure.message.partition("in epoch ")[2].partition(";")[0])
    assert failed_in > 1
    assert epochs_of(heard) == list(range(1, failed_in))
