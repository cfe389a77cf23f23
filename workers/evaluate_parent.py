"""Evaluate: the model that another job trained, on a test set that it has not seen. Nothing is trained.

The logits are cut down to the classes of the test set and put in its order: of ImageNet's 1,000, ImageNet-A has 200.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
from torch import Tensor

from storage.records import Job
from workers.adapted import AdaptedModel
from workers.checkpoint import restore
from workers.corruptions import mean_corruption_error_pct
from workers.data.batches import Batches
from workers.data.catalogue import described
from workers.data.splits import folders_of, stream_parts
from workers.errors import DeltaMismatch, Diverged, ParentMissing, Unsupported
from workers.evaluate import Evaluation, evaluate
from workers.feeds import Ordered, Subject
from workers.precision import check_precision
from workers.predictions import Predictions, save_predictions
from workers.randomness import seeded
from workers.running import Outcome, Running
from workers.sizes import sizes_of


def evaluate_parent(running: Running) -> Outcome:
    """`test_top1_pct` and `test_loss` over all images, and the mean corruption error where the set has corruptions.

    Raises ParentMissing, DeltaMismatch, and what reading data raises.
    """
    job = running.job
    check_precision(job.recipe.precision, running.device)
    adapted = _parents_model(running)
    subject = _on_its_classes(adapted, job)
    found = {part: _scored(running, subject, feed) for part, feed in _parts(running)}
    weights = [len(one.labels) for one in found.values()]
    metrics = {
        "test_loss": float(np.average([one.loss for one in found.values()], weights=weights)),
        "test_top1_pct": float(np.average([one.top1_pct for one in found.values()], weights=weights)),
        **_of_corruptions(job, {part: one.top1_pct for part, one in found.items()}),
        **sizes_of(adapted, job),
    }
    every = list(found.values())
    predictions = Predictions(
        np.concatenate([one.labels for one in every]),
        np.concatenate([one.predicted for one in every]),
        np.concatenate([one.probability for one in every]),
    )
    path = save_predictions(running.site.predictions_dir(), predictions)
    return Outcome(metrics=metrics, files={"predictions": path})


def _parents_model(running: Running) -> AdaptedModel:
    """The parent's model, restored from its delta."""
    job, site = running.job, running.site
    if job.parent is None or job.class_map is None or job.trained_on is None:
        raise Unsupported("an evaluate job must name its parent and the map of its classes; plan it again")
    path = site.delta_path(job.parent)
    if not path.is_file():
        raise ParentMissing(
            f"the delta of job {job.parent}, which this job evaluates, is not at {path}: its result came without "
            "files, or they were deleted. Bring them with `sweepboard store import` from an export with files, or copy "
            "the file there, then retry this job"
        )
    adapted, parent = restore(path, site, job.methods)
    if parent.job_id != job.parent:
        raise DeltaMismatch(f"{path} is the delta of job {parent.job_id}; expected {job.parent}: copy the right file")
    return adapted


def _on_its_classes(adapted: AdaptedModel, job: Job) -> Subject:
    classes = list(job.class_map or ())

    def forward(images: Tensor) -> Tensor:
        logits: Tensor = adapted.model(images)
        return logits[:, classes]

    return Subject(adapted.model, forward, False)


def _parts(running: Running) -> Iterator[tuple[str, Ordered]]:
    """What is evaluated: the test split, or each corruption at each severity."""
    job, site = running.job, running.site
    in_folders = folders_of(job, site)
    if in_folders is None or in_folders.parts == ("",):
        yield "", running.batches(job.score_split)
        return
    running.told("load", 0, 0)
    for part, split in stream_parts(job, in_folders, site):
        yield part, Batches(split, job, running.device)


def _scored(running: Running, subject: Subject, feed: Ordered) -> Evaluation:
    with running.clock.timed("evaluate"), seeded(running.job.seed, "evaluate"):
        found = evaluate(subject, feed, running.job, running.reporter)
    if not math.isfinite(found.loss):
        raise Diverged(f"the loss on {running.job.dataset.name} is {found.loss}; expected a finite number")
    return found


def _of_corruptions(job: Job, top1_pct: Mapping[str, float]) -> dict[str, float]:
    dataset = described(job.dataset.name)
    if dataset is None or not dataset.corruptions:
        return {}
    return {"test_mce_pct": mean_corruption_error_pct(top1_pct, dataset.corruptions)}
