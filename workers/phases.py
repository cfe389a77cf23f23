"""What is done in each phase of a job, from its data to what came out."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from methods.api import MakesArtifacts, TrainingData
from storage.records import FEATURES, PRIMARY, SEGMENTATION, ArtifactKey, Job, Phase
from workers.adapted import AdaptedModel, job_methods
from workers.backbones import build_model
from workers.checkpoint import load_tensors, save_delta, save_tensors
from workers.errors import ArtifactMissing, Diverged, Unsupported
from workers.evaluate_parent import evaluate_parent
from workers.features import FeatureFeed, computed
from workers.feeds import Feed, Subject, subject_of
from workers.measure_apart import measure_apart
from workers.objectives import Judged, objective_of
from workers.precision import check_precision
from workers.preflight import preflight
from workers.probes import adapted_for, keep
from workers.randomness import seeded
from workers.running import Outcome, Running
from workers.segmentation.batches import training_data
from workers.site import Site
from workers.sizes import sizes_of
from workers.train import Trainer

_log = logging.getLogger(__name__)


def prepare(running: Running) -> Outcome:
    """Make the shared artifact that the job names, on the plain backbone with a fresh head."""
    job = running.job
    if job.makes is None:
        raise Unsupported("a prepare job must say which artifact it makes; plan it again")
    kind, batches = job.makes.kind, running.batches(job.train_split)
    model = build_model(job, running.site)
    with running.clock.timed("prepare"):
        if kind == FEATURES:
            tensors: Mapping[str, Tensor] = {FEATURES: computed(model, batches, job, running.reporter)}
        else:
            tensors = _maker(job, kind).make_artifact(kind, model, training_data(job, batches, {}, running.told))
    path = running.site.artifact_path(job.makes.key_id)
    save_tensors(path, tensors, {"key": job.makes.key_id, "kind": kind, "made_by": job.job_id})
    return Outcome(files={"artifact": path})


def _maker(job: Job, kind: str) -> MakesArtifacts:
    makers = [method for method in job_methods(job) if any(need.kind == kind for need in method.needs)]
    if len(makers) != 1 or not isinstance(makers[0], MakesArtifacts):
        raise Unsupported(
            f"none of {job.stack} makes artifacts of kind {kind!r}; expected one method with make_artifact"
        )
    return makers[0]


def train_and_score(running: Running) -> Outcome:
    """Search: val after every epoch (pruning needs the curve; the last epoch is the number). Final: the test split is
    opened after the last epoch, or under protocol `paper` read after every epoch."""
    job = running.job
    check_precision(job.recipe.precision, running.device)
    adapted = adapted_for(job, running.site, lambda: _training_data(running))
    subject = subject_of(adapted, job)
    with running.clock.timed("train"):
        feed = _feed(running, adapted, subject, job.train_split)
    scored: list[Judged] = []
    after_epoch = _epoch_scoring(running, adapted, subject, scored)
    trainer = Trainer(adapted, subject, job, running.device, running.bundle)
    training = trainer.run(feed, running.reporter, running.clock, after_epoch)
    if not scored:
        with running.clock.timed("evaluate"):
            unseen = _feed(running, adapted, subject, job.score_split)
        scored.append(_scored(running, subject, unseen))
    metrics = {
        **_final_metrics(job, scored),
        **sizes_of(adapted, job),
        "optimizer_state_bytes": training.optimizer_state_bytes,
    }
    files: dict[str, Path] = {}
    if job.phase == Phase.FINAL or job.dataset.task != SEGMENTATION:  # of a search: the images that a choice rests on
        files |= scored[-1].save(running.site.predictions_dir())
    if job.phase == Phase.FINAL:
        files["delta"] = running.site.delta_path(job.job_id)
        metrics["delta_bytes"] = save_delta(files["delta"], adapted, job)
    keep(adapted, job, running.site)
    return Outcome(metrics=metrics, epochs=training.epochs, files=files)


PHASES: Mapping[Phase, Callable[[Running], Outcome]] = {
    Phase.PREPARE: prepare,
    Phase.SEARCH: train_and_score,
    Phase.FINAL: train_and_score,
    Phase.EVALUATE: evaluate_parent,
    Phase.MEASURE: measure_apart,
    Phase.PREFLIGHT: preflight,
}


def _training_data(running: Running) -> TrainingData:
    job = running.job
    return training_data(job, running.batches(job.train_split), _of_methods(job, running.site), running.told)


def _of_methods(job: Job, site: Site) -> dict[str, Mapping[str, Tensor]]:
    """The shared artifacts that the stack's methods read, by kind."""
    return {key.kind: _artifact(job, key, site) for key in job.needs if key.kind != FEATURES}


def _artifact(job: Job, key: ArtifactKey, site: Site) -> Mapping[str, Tensor]:
    path = site.artifact_path(key.key_id)
    if not path.exists():
        raise ArtifactMissing(
            f"artifact {key.key_id}, which job {job.job_id} needs, is not at {path}; SWEEPBOARD_HOME must be one "
            "folder that all nodes share; if the file was deleted, copy it from another home, or run the sweep in a "
            "new home and join the results (`sweepboard store export`, `store import`)"
        )
    return load_tensors(path)


def _feed(running: Running, adapted: AdaptedModel, subject: Subject, split: str) -> Feed:
    """A split as the subject reads it. The jobs of a bundle read features once."""
    if not subject.is_head_only:
        return running.batches(split)
    bundle, job_id = running.bundle, running.job.job_id
    kind = bundle.kinds.get(job_id) if bundle is not None else None
    if bundle is None or kind is None:
        return _features(running, adapted, split)
    if (kind, split) not in bundle.feeds:
        bundle.feeds[kind, split] = _features(running, adapted, split)
    found: FeatureFeed = bundle.feeds[kind, split]
    return found


def _features(running: Running, adapted: AdaptedModel, split: str) -> FeatureFeed:
    """From the artifact of that split, if the plan shares one and the file is still there."""
    job, batches = running.job, running.batches(split)
    for key in job.needs:
        if key.kind == FEATURES and dict(key.inputs)["split"] == split:
            if running.site.artifact_path(key.key_id).exists():
                return FeatureFeed(_artifact(job, key, running.site)[FEATURES], batches, job)
            _log.warning("artifact %s is not where the home should have it; its features are made again", key.key_id)
    return FeatureFeed(computed(adapted.model, batches, job, running.reporter), batches, job)


def _epoch_scoring(
    running: Running, adapted: AdaptedModel, subject: Subject, scored: list[Judged]
) -> Callable[[], dict[str, float]]:
    """What to measure after each epoch; `scored` collects it. Nothing is opened when nothing is measured."""
    job = running.job
    if job.phase == Phase.FINAL and job.protocol != "paper":
        return dict
    with running.clock.timed("evaluate"):
        feed = _feed(running, adapted, subject, job.score_split)
    kind = _kind(job)

    def score() -> dict[str, float]:
        scored.append(_scored(running, subject, feed))
        return scored[-1].metrics(kind)

    return score


def _scored(running: Running, subject: Subject, feed: Feed) -> Judged:
    with running.clock.timed("evaluate"), seeded(running.job.seed, "evaluate"):  # tokens may be dropped at random
        found = objective_of(running.job).judge(subject, feed, running.job, running.reporter)
    if not math.isfinite(found.loss):
        raise Diverged(f"the loss on {running.job.score_split} is {found.loss}; expected a finite number: lower lr")
    return found


def _final_metrics(job: Job, scored: list[Judged]) -> dict[str, float]:
    metrics = scored[-1].metrics(_kind(job))
    if job.phase == Phase.FINAL and job.protocol == "paper":
        metrics[f"test_peek_{PRIMARY[job.dataset.task]}"] = max(judged.primary_pct for judged in scored)
    return metrics


def _kind(job: Job) -> str:
    return "val" if job.phase == Phase.SEARCH else "test"
