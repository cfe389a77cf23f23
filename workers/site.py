"""Site: where a job runs. Paths, device and threads: nothing here decides a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from workers.pools.protocol import Progress, Verdict


@dataclass(frozen=True)
class Site:
    """`home` holds artifacts, deltas, predictions, logs and spooled results; `cache` is node-local.

    `weights`: weights hash -> path of a local file, for backbones given by path. `data`: data-set name -> folder.
    Both are filled by the plan's resolution, so that a job carries hashes and no paths. `cache_gib`: what decoded
    images may take on a node; None: half of what the cache and the free disk are together.
    """

    home: Path
    cache: Path
    device: str = "cpu"  # "cpu", "cuda", "cuda:1"; `auto` until a process resolves it
    threads: int = 1
    weights: Mapping[str, Path] = field(default_factory=dict)
    data: Mapping[str, Path] = field(default_factory=dict)
    cache_gib: float | None = None

    def delta_path(self, job_id: str) -> Path:
        return self.home / "deltas" / f"{job_id}.safetensors"

    def artifact_path(self, key_id: str) -> Path:
        return self.home / "artifacts" / f"{key_id}.safetensors"

    def predictions_dir(self) -> Path:
        return self.home / "predictions"

    def log_path(self, job_id: str, lease_epoch: int) -> Path:
        return self.home / "logs" / f"{job_id}.{lease_epoch}.log"

    def spool_path(self, job_id: str, lease_epoch: int) -> Path:
        return self.home / "spool" / f"{job_id}.{lease_epoch}.json"


Report = Callable[[Progress], Verdict]
"""How a running job says that it is alive and learns whether to go on."""
