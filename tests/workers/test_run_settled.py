"""A job whose settled hyper-parameters are not those of its backbone and image size is not run."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from methods import registry
from methods.params import resolve_params
from storage.records import FailureClass, Job, MethodCall, Status, frozen
from workers.backbone_facts import facts_at, table

NANO = table()["nano_vit"].facts


def merging(job: Job, planned_at: int | None, **given: object) -> Job:
    """The job with ToMe as planned for images of that size; None: not settled at all."""
    tome = registry.facts("tome")
    params, _ = resolve_params(tome, given)
    settled = params if planned_at is None else tome.settled(params, facts_at(NANO, planned_at))
    return replace(job, methods=(*job.methods, MethodCall("tome", tome.revision, frozen(dict(settled)))))


def test_a_settled_job_runs(a_job, run):
    result = run(merging(a_job("linear"), 32, merge_rate="high"))
    assert (result.status, result.failure) == (Status.DONE, None)


@pytest.mark.parametrize(
    ("planned_at", "given", "text"),
    [
        (16, {"merge_rate": "high"}, r"'tome': merge_rate=high and schedule=\(.*disagree"),
        (None, {"merge_rate": "high"}, r"tome.schedule is \(\), but \(.* on nano_vit at 32 px: plan again"),
        (None, {"schedule": (60, 0, 0, 0, 0, 0)}, r"tome.schedule is \(60, .* but \(32, 0"),
        (None, {"schedule": (1, 2)}, "schedule has 2 entries; the backbone has 6 blocks"),
    ],
)
def test_a_job_planned_for_something_else_is_refused_with_both_values(a_job, run, planned_at, given, text):
    result = run(merging(a_job("linear"), planned_at, **given))
    assert result.failure.failure_class is FailureClass.USER_ERROR
    assert re.search(text, result.failure.message)


def test_an_image_size_that_patches_do_not_cover_is_refused(a_job, run):
    result = run(a_job("linear", recipe={"image_size": 30}))
    assert "image_size 30 is no multiple of the patch size 4 of nano_vit; use 28 or 32" in result.failure.message
