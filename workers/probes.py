"""The model of a linear probe, kept by a warm slot for the probes that follow: they differ in the head's values alone.

A job takes the model for itself and hands it back when it ended well, so that nobody else ever sees it half trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from methods import registry
from methods.api import Adaptation, TrainingData
from storage.records import CLASSIFICATION, Job
from workers.adapted import AdaptedModel, adapt
from workers.backbones import build_model, made_for, redraw_head, spare
from workers.site import Site


@dataclass(frozen=True)
class _Kept:
    made_for: tuple[object, ...]
    adapted: AdaptedModel


def adapted_for(job: Job, site: Site, data: Callable[[], TrainingData]) -> AdaptedModel:
    """The job's model, adapted: that of an earlier probe with a fresh head, or a new one, which sees the data. Raises
    as those two do."""
    held = spare.pop() if spare else None
    if isinstance(held, _Kept) and held.made_for == _made_for(job, site):
        redraw_head(held.adapted.model, job)
        return held.adapted
    del held  # before a new one is built
    return adapt(build_model(job, site), job, data())


def keep(adapted: AdaptedModel, job: Job, site: Site) -> None:
    """Keep the model of a job that has ended, if it is still the plain backbone but for its head."""
    is_probe = job.dataset.task == CLASSIFICATION and all(
        registry.facts(one.name).keeps_features for one in job.methods
    )
    if is_probe and not adapted.trained and adapted.adaptation == Adaptation():
        spare[:] = [_Kept(_made_for(job, site), adapted)]


def _made_for(job: Job, site: Site) -> tuple[object, ...]:
    return (*made_for(job, site), job.methods, job.dataset.classes)
