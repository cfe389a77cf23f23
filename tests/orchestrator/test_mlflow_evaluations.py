"""What MLflow shows of evaluate jobs: the training set beside the test set, and no mean over two training sets."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.mlflow_view_records import job_record, params, summaries
from storage.records import DatasetRef, Job, Status
from storage.store import JobState
from storage.testing.samples import child_of, done, sample_job

PARENTS = {"sweepboard/robustness": "run"}


def finished(job: Job) -> JobState:
    return JobState(job, Status.DONE, 1, "lora", done(job))


def trained_on(name: str, seed: int = 0) -> Job:
    return replace(sample_job(seed), dataset=DatasetRef(name, "d" * 64, 100))


def test_a_run_names_both_sets_and_the_parent() -> None:
    parent = trained_on("general/imagenet1k")
    record = job_record(finished(child_of(parent)), "s", None)
    assert record.experiment == "sweepboard/robustness"
    assert "robustness/imagenet_a of general/imagenet1k" in record.name
    assert (record.params["trained_on"], record.params["parent"]) == ("general/imagenet1k", parent.job_id)
    assert "trained_on" not in params(parent)


def test_a_summary_is_of_the_seeds_of_one_training_set() -> None:
    parents = [trained_on(name, seed) for name in ("general/imagenet1k", "local/mine") for seed in (0, 1)]
    found = summaries("s", [finished(child_of(parent)) for parent in parents], PARENTS)
    assert [one.record.params["seeds"] for one in found] == ["[0, 1]", "[0, 1]"]
    assert len({one.record.key for one in found}) == 2
    assert "parent" not in found[0].record.params
