"""Preflight: what a job does, once and small, before many jobs of its kind are started.

Two training steps at the full batch size and one evaluation batch on the first training images, then the delta is
written, read back, and must give the same logits. The test split is never opened.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from storage.records import Job
from workers.adapted import AdaptedModel
from workers.checkpoint import restore, save_delta
from workers.data.batches import Batch
from workers.data.splits import open_few
from workers.data.stocks import Split, chosen_of
from workers.errors import DeltaMismatch, Diverged
from workers.features import FeatureFeed, computed
from workers.feeds import Feed, subject_of, subject_on_images
from workers.few_images import adapted_on
from workers.measure_memory import PeakMemory
from workers.objectives import objective_of
from workers.precision import autocast, check_precision
from workers.randomness import seeded
from workers.running import Outcome, Running
from workers.segmentation.batches import batches_of
from workers.train import Trainer

_STEPS = 2
_FEW_IMAGES = 16
_EVALUATED = {"cuda": 128, "cpu": 16}  # on a GPU memory is at stake, on a CPU time
_WARM_UP_LR = 0.01  # of the recipe's rate: where a recipe warms up, its first steps are small


def preflight(running: Running) -> Outcome:
    """`train_peak_mem_mib` and `infer_peak_mem_mib` of the job at its batch size, and the footprint of its process
    (`PeakMemory.footprint`); raises what the job would raise."""
    device, site = running.device, running.site
    check_precision(running.job.recipe.precision, device)
    job = _short(running.job)
    memory = PeakMemory(device)
    few = open_few(job, job.train_split, site, _FEW_IMAGES)
    adapted = adapted_on(batches_of(few, job, device), job, site, running.told)
    steps = batches_of(_repeated(few, _STEPS * job.recipe.batch_size), job, device)
    subject = subject_of(adapted, job)
    feed: Feed = steps
    if subject.is_head_only:
        feed = FeatureFeed(computed(adapted.model, steps, job, running.reporter), steps, job)
    memory.reset()
    Trainer(adapted, subject, job, device).run(feed, running.reporter, running.clock, dict)
    train_mem_mib, train_footprint = memory.mib(), memory.footprint()
    memory.reset()
    scored = batches_of(_repeated(few, _EVALUATED[device.type]), job, device)
    with seeded(job.seed, "evaluate"):
        found = objective_of(job).judge(subject_on_images(adapted), scored, job, running.reporter)
    if not math.isfinite(found.loss):
        raise Diverged(f"after {_STEPS} steps the loss on training images is {found.loss}; lower lr or clip_grad_norm")
    infer_mem_mib, infer_footprint = memory.mib(), memory.footprint()
    _check_round_trip(adapted, job, running, next(scored.in_order()))
    footprint = {name: max(value, infer_footprint[name]) for name, value in train_footprint.items()}
    return Outcome(metrics={"train_peak_mem_mib": train_mem_mib, "infer_peak_mem_mib": infer_mem_mib, **footprint})


def _short(job: Job) -> Job:
    recipe = job.recipe
    lr = recipe.lr * _WARM_UP_LR if recipe.warmup_epochs else recipe.lr
    return replace(job, recipe=replace(recipe, epochs=1, cooldown_epochs=0, warmup_epochs=0.0, lr=lr))


def _repeated(few: Split, count: int) -> Split:
    """The images again and again until there are `count`: memory and code see a full batch."""
    return chosen_of(few, np.arange(count) % len(few.labels))


def _check_round_trip(adapted: AdaptedModel, job: Job, running: Running, batch: Batch) -> None:
    with TemporaryDirectory(prefix="sweepboard-preflight-") as folder:
        path = Path(folder) / "delta.safetensors"
        save_delta(path, adapted, job)
        restored, _ = restore(path, running.site)
    before, after = (_logits(model, job, batch) for model in (adapted.model, restored.model))
    if not torch.equal(before, after):
        raise DeltaMismatch(
            f"the delta of {job.stack} on {job.backbone.name} was written and read back, and logits differ by up to "
            f"{(before - after).abs().max().item():g}: the method does not declare all that it trains, or does not "
            "carry what it found in the images (Adaptation)"
        )


@torch.no_grad()
def _logits(model: nn.Module, job: Job, batch: Batch) -> Tensor:
    model.eval()
    with seeded(job.seed, "round trip"), autocast(job.recipe.precision, batch.images.device):
        logits: Tensor = model(batch.images)
    return logits.float()
