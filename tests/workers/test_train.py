"""What is heard of a training run while it runs."""

from __future__ import annotations

from workers.pools.protocol import Verdict


def test_progress_comes_at_most_five_times_a_second_between_epochs(a_job, run):
    heard = []

    def listen(progress):
        heard.append(progress)
        return Verdict.CONTINUE

    result = run(a_job("linear", recipe={"epochs": 60, "batch_size": 1}), listen)
    between = [progress for progress in heard if progress.epoch is None]
    epochs = [progress.epoch.epoch for progress in heard if progress.epoch is not None]
    assert epochs == list(range(1, len(epochs) + 1)), "all in order; the last ones may stand in the result alone"
    assert len(result.epochs) == 60
    assert len(between) <= 5 * result.metrics["wall_s"] + 1
    assert {progress.stage for progress in heard} <= {"load", "features", "train", "evaluate"}


def test_cooldown_epochs_are_trained_at_the_lowest_rate_behind_the_schedule(a_job, run, monkeypatch):
    monkeypatch.setattr("workers.reporting._LEAST_INTERVAL_S", 0.0)
    recipe = {"epochs": 2, "cooldown_epochs": 2, "lr": 1e-2, "min_lr": 1e-6, "schedule_unit": "epoch"}
    stages = []

    def listen(progress):
        stages.append((progress.done, progress.total))
        return Verdict.CONTINUE

    result = run(a_job("linear", recipe=recipe), listen)
    assert [epoch.epoch for epoch in result.epochs] == [1, 2, 3, 4]
    assert [epoch.metrics["lr"] for epoch in result.epochs] == [1e-2, 1e-6 + (1e-2 - 1e-6) / 2, 1e-6, 1e-6]
    assert stages and all(done <= total for done, total in stages)
