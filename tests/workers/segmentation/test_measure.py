"""Speed of segmentation is measured on noise with masks, by the process that measures everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from storage.records import SPEED_METRICS, Job, Phase
from workers.measure import measure
from workers.site import Site


def test_speed_and_memory_are_measured_with_a_mask_decoder(masked_job: Callable[..., Job], site: Site):
    job = masked_job("linear", phase=Phase.MEASURE, train_split="", score_split="", device="cpu")
    found = measure(replace(job, recipe=job.recipe.of_cost(2)), site)
    assert set(found) == set(SPEED_METRICS)
    assert min(found["train_img_per_s"], found["infer_img_per_s"], found["infer_merged_img_per_s"]) > 0
