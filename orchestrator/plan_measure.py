"""Measure jobs: speed and memory once per stack, backbone, input size, batch, precision and device, after all else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.spec import Measure
from storage.records import SEGMENTATION, DatasetRef, Job, Phase
from storage.store import Entry

SYNTHETIC = DatasetRef("synthetic/noise", "none", 100)
"""Noise in a hundred classes: neither images nor the width of the head change what a step costs."""

SYNTHETIC_MASKS = DatasetRef("synthetic/masks", "none", 1, SEGMENTATION)


def measure_entries(
    asked: Measure | None, planned: Sequence[tuple[Entry, bool]], device: str
) -> list[tuple[Entry, bool]]:
    """One entry per distinct measurement behind the planned ones, each to run while nothing else does.

    With each entry comes whether all that names it is known. `device`: "cpu" or "cuda"; a job that asks for part of a
    GPU is measured on one whatever `device` says.
    """
    if asked is None:
        return []
    found: dict[str, tuple[Entry, bool]] = {}
    for entry, is_resolved in planned:
        if entry.job.phase not in (Phase.FINAL, Phase.SEARCH):
            continue
        job = _measure_job(entry.job, asked, "cuda" if entry.resources.get("gpus") else device)
        if job.job_id not in found:
            resources = {**entry.resources, "exclusive": 1.0}
            found[job.job_id] = (Entry(job, len(planned) + len(found), entry.row, resources), is_resolved)
    return list(found.values())


def _measure_job(job: Job, asked: Measure, device: str) -> Job:
    """Equal for all jobs whose steps cost the same: what only decides the outcome is set to one value."""
    return replace(
        job,
        phase=Phase.MEASURE,
        dataset=SYNTHETIC_MASKS if job.dataset.task == SEGMENTATION else SYNTHETIC,
        train_split="",
        score_split="",
        recipe=job.recipe.of_cost(asked.batch_size or job.recipe.batch_size),
        seed=0,
        protocol="honest",
        needs=(),
        device=device,
    )
