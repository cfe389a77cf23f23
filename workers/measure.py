"""Speed and memory of one stack on one device: `python -m workers.measure`, a process that does nothing else.

Reads one JSON line {"job": Job.to_json(), "site": {...}} and writes one, {"metrics": {...}} or {"failure": {...}}. It
ends when its standard input is closed, so that it never outlives the process that asked.

Inference comes before training, as an allocator keeps what training took; merged inference is last, because merging
cannot be undone. Images are noise that lies on the device already: decoding, augmentation and copies are not measured,
and neither is the feature cache of a probe. Each speed is the median over windows of at least 0.15 s after a warm-up.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import nn

from methods.stack import merge_stack
from storage.records import SEGMENTATION, Job, Lease
from workers.adapted import AdaptedModel
from workers.clock import Stopwatch
from workers.data.batches import Batch
from workers.data.stocks import ImageSet
from workers.errors import Unsupported
from workers.failures import classified
from workers.feeds import subject_on_images
from workers.few_images import adapted_on
from workers.measure_memory import PeakMemory
from workers.pools.protocol import Verdict
from workers.precision import autocast, check_precision
from workers.randomness import generator, numpy_generator
from workers.reporting import Reporter
from workers.segmentation.batches import batches_of
from workers.segmentation.images import MaskedImages
from workers.site import Site
from workers.train import Trainer

_PREPARED_ON = 8  # images; a scoring pass over more would cost time and change no cost
_WARM_UP_S = 0.3
_WINDOW_S = 0.15
_WINDOWS, _FEWEST_WINDOWS = 5, 3
_LONGEST_S = 60.0  # for all windows of one speed; slower steps get fewer windows
_SMALL_LR = 1e-6  # labels are noise: nothing is to be learnt, and nothing may diverge


@dataclass(frozen=True)
class Speed:
    """`spread_pct`: (largest - smallest) / median over the windows."""

    img_per_s: float
    spread_pct: float


@dataclass
class Repeated:
    """A feed that gives one batch again and again; `count` times per epoch."""

    batch: Batch
    count: int = 1

    def __len__(self) -> int:
        return self.count * len(self.batch.labels)

    def steps(self, batch_size: int) -> int:
        return self.count

    def trained(self, epoch: int) -> Iterator[Batch]:
        return (self.batch for _ in range(self.count))

    def in_order(self) -> Iterator[Batch]:
        return self.trained(0)


def measure(job: Job, site: Site) -> dict[str, float]:
    """The metrics of a measure job (`SPEED_METRICS`), on the site's device with the site's threads.

    Meant for a process of its own: memory is counted from where the process stands. Raises what training raises.
    """
    device = torch.device(site.device)
    check_precision(job.recipe.precision, device)
    job = replace(job, recipe=replace(job.recipe, lr=_SMALL_LR))
    memory = PeakMemory(device)
    adapted = adapted_on(batches_of(_noise_images(job), job, device), job, site, lambda stage, done, total: None)
    batch = _noise_batch(job, device)
    memory.reset()
    infer, infer_mem_mib = _inference(adapted.model, job, batch), memory.mib()
    memory.reset()
    train, train_mem_mib = _training(adapted, job, batch), memory.mib()
    gc.collect()
    merged = _inference(merge_stack(adapted.methods, adapted.model), job, batch)
    return {
        "train_img_per_s": train.img_per_s,
        "infer_img_per_s": infer.img_per_s,
        "infer_merged_img_per_s": merged.img_per_s,
        "train_spread_pct": train.spread_pct,
        "infer_spread_pct": infer.spread_pct,
        "infer_merged_spread_pct": merged.spread_pct,
        "train_peak_mem_mib": train_mem_mib,
        "infer_peak_mem_mib": infer_mem_mib,
    }


def _inference(model: nn.Module, job: Job, batch: Batch) -> Speed:
    model.eval()

    def run(steps: int) -> None:
        with torch.no_grad(), autocast(job.recipe.precision, batch.images.device):
            for _ in range(steps):
                model(batch.images)

    return speed_of(run, batch)


def _training(adapted: AdaptedModel, job: Job, batch: Batch) -> Speed:
    """Steps of the trainer itself, on whole images also where only the head learns."""
    feed = Repeated(batch)
    reporter = Reporter(job, Lease(job.job_id, 0, "measure", 0.0), lambda progress: Verdict.CONTINUE)
    trainer = Trainer(adapted, subject_on_images(adapted), job, batch.images.device)

    def run(steps: int) -> None:
        feed.count = steps
        trainer.run(feed, reporter, Stopwatch(), dict)

    return speed_of(run, batch)


def speed_of(run: Callable[[int], None], batch: Batch) -> Speed:
    """The speed of `run(steps)` on that batch, in images/s: warm-up, then windows of many steps."""
    warm_until_s = time.perf_counter() + _WARM_UP_S
    _seconds(run, 1, batch)
    step_s = _seconds(run, 1, batch)
    while time.perf_counter() < warm_until_s:
        step_s = _seconds(run, 1, batch)
    steps = max(1, ceil(_WINDOW_S / step_s))
    windows = _WINDOWS if _WINDOWS * steps * step_s < _LONGEST_S else _FEWEST_WINDOWS
    each_s = [_seconds(run, steps, batch) / steps for _ in range(windows)]
    median_s = statistics.median(each_s)
    return Speed(len(batch.labels) / median_s, 100 * (max(each_s) - min(each_s)) / median_s)


def _seconds(run: Callable[[int], None], steps: int, batch: Batch) -> float:
    began_s = time.perf_counter()
    run(steps)
    if batch.images.device.type == "cuda":
        torch.cuda.synchronize(batch.images.device)
    return time.perf_counter() - began_s


def _noise_images(job: Job) -> ImageSet:
    size = job.recipe.image_size
    if size is None:
        raise Unsupported("recipe.image_size is not resolved; a job carries a number of pixels: plan it again")
    draws = numpy_generator(job.seed, "noise")
    images = draws.integers(0, 256, (_PREPARED_ON, size, size, 3), dtype="uint8")
    labels = draws.integers(0, job.dataset.classes, _PREPARED_ON)
    if job.dataset.task == SEGMENTATION:
        masks = draws.integers(0, 2, (_PREPARED_ON, size, size), dtype="uint8")
        return MaskedImages(images, labels, masks=masks)
    return ImageSet(images, labels)


def _noise_batch(job: Job, device: torch.device) -> Batch:
    draws, count, size = generator(job.seed, "noise"), job.recipe.batch_size, job.recipe.image_size or 0
    images = torch.randn((count, 3, size, size), generator=draws).to(device)
    if job.dataset.task == SEGMENTATION:
        masks = torch.randint(2, (count, 1, size, size), generator=draws).float().to(device)
        return Batch(images, masks, masks)
    labels = torch.randint(job.dataset.classes, (count,), generator=draws).to(device)
    return Batch(images, labels, labels)


def site_to_json(site: Site) -> dict[str, Any]:
    """What the measuring process must know of where it runs."""
    record = asdict(site) | {"home": str(site.home), "cache": str(site.cache)}
    return record | {name: {key: str(path) for key, path in record[name].items()} for name in ("weights", "data")}


def site_from_json(record: dict[str, Any]) -> Site:
    """`site_from_json(site_to_json(site)) == site`."""
    paths = {name: {key: Path(path) for key, path in record[name].items()} for name in ("weights", "data")}
    return Site(**{**record, **paths, "home": Path(record["home"]), "cache": Path(record["cache"])})


def _end_with_parent() -> None:
    """Standard input ends when whoever asked is gone, however it went."""
    while os.read(0, 1):
        continue
    os._exit(1)


def main() -> None:
    """Answer one question."""
    asked = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    answer: dict[str, Any]
    try:
        site = site_from_json(asked["site"])
        torch.set_num_threads(site.threads)
        answer = {"metrics": measure(Job.from_json(asked["job"]), site)}
    except Exception as error:
        answer = {"failure": asdict(classified(error))}
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
