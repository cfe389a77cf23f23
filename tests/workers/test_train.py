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
    assert len(heard) - len(between) == 60
    assert len(between) <= 5 * result.metrics["wall_s"] + 1
    assert {progress.stage for progress in heard} <= {"load", "features", "train", "evaluate"}
