"""A job that runs, with what it has at hand, and what came out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from storage.records import EpochMetrics, Job
from workers.bundle import Bundle
from workers.clock import Stopwatch
from workers.data.batches import Batches
from workers.data.splits import open_split
from workers.reporting import Reporter
from workers.segmentation.batches import batches_of
from workers.site import Site


@dataclass(frozen=True)
class Running:
    """A job that runs, and what it has at hand; `bundle`: the jobs that run before and after it in this slot."""

    job: Job
    site: Site
    device: torch.device
    reporter: Reporter
    clock: Stopwatch
    bundle: Bundle | None = None

    def batches(self, split: str) -> Batches:
        """A split, ready to be cut into batches. Raises what `open_split` raises."""
        images = open_split(self.job, split, self.site, lambda done, total: self.told("load", done, total))
        return batches_of(images, self.job, self.device)

    def told(self, stage: str, done: int, total: int) -> None:
        """Pass on where a stage stands. Raises Stopped."""
        self.reporter.step(stage, done, total)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a phase found: metrics, epochs, and files by role."""

    metrics: Mapping[str, float] = field(default_factory=dict)
    epochs: tuple[EpochMetrics, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
