"""Bundles: jobs that one slot runs one after another, and what the first of them found for the others.

Linear probes on shared features are trained in milliseconds, most of which a head of its own spends on calls of small
kernels. Heads that see the same batches from the same start can be trained as one (workers.heads), so the loop hands
such jobs to a slot together. Each stays a job of its own, with its lease, its result and its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from storage.records import FEATURES, Job, Phase

MOST = 64
"""Jobs of one bundle."""


@dataclass(frozen=True)
class Bundle:
    """`jobs` in the order in which they run; `found`: job id -> what was found for it while another one ran; `feeds`:
    (kind of job, split) -> the features that jobs of that kind read."""

    jobs: tuple[Job, ...]
    found: dict[str, Any] = field(default_factory=dict)
    feeds: dict[tuple[str, str], Any] = field(default_factory=dict)

    @cached_property
    def kinds(self) -> Mapping[str, str | None]:
        """Job id -> `kind_of` the job."""
        return {job.job_id: kind_of(job) for job in self.jobs}

    def after(self, job: Job) -> Sequence[Job]:
        """The job itself and those behind it that nothing was found for yet."""
        ids = [one.job_id for one in self.jobs]
        behind = self.jobs[ids.index(job.job_id) + 1 :] if job.job_id in ids else ()
        kind = self.kinds.get(job.job_id)
        return [job, *(one for one in behind if one.job_id not in self.found and self.kinds[one.job_id] == kind)]


def kind_of(job: Job) -> str | None:
    """Equal for jobs whose heads can be trained as one: all but the rate and the decay is the same. None for any job
    that is no linear probe on shared features, or whose steps couple what is trained (clipping, running averages)."""
    recipe = job.recipe
    is_trained = job.phase in (Phase.SEARCH, Phase.FINAL)
    is_coupled = recipe.clip_grad_norm is not None or recipe.ema_decay is not None
    if not is_trained or is_coupled or not any(need.kind == FEATURES for need in job.needs):
        return None
    return replace(job, recipe=replace(recipe, lr=0.0, weight_decay=0.0)).job_id
