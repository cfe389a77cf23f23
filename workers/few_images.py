"""A job's model made with a few images only: for measuring what a step costs, and for seeing that a job can run."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from methods.api import MakesArtifacts
from methods.params import resolve_params
from methods.registry import facts
from storage.records import Job
from workers.adapted import AdaptedModel, adapt, job_methods
from workers.backbones import build_model
from workers.data.batches import Batches
from workers.data.training import Told
from workers.errors import Unsupported
from workers.segmentation.batches import training_data
from workers.site import Site


def adapted_on(batches: Batches, job: Job, site: Site, told: Told) -> AdaptedModel:
    """The job's backbone with its stack prepared on these batches, and on no others.

    Shared artifacts (GPS: scores) are made here and now on the same images, by the code that prepare jobs run. Which
    weights they choose then means nothing; how many there are, and what a step costs, is the same.
    """
    artifacts: dict[str, Mapping[str, Tensor]] = {}
    plain = training_data(job, batches, {}, told)
    for call, method in zip(job.methods, job_methods(job), strict=True):
        described = facts(call.name)
        for kind, _ in described.needs_for(resolve_params(described, call.kwargs)[0]):
            if not isinstance(method, MakesArtifacts):
                raise Unsupported(f"{call.name} needs an artifact {kind!r} and has no make_artifact to make it with")
            artifacts[kind] = method.make_artifact(kind, build_model(job, site), plain)
    return adapt(build_model(job, site), job, training_data(job, batches, artifacts, told))
