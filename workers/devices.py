"""Which device a process runs on. Free of torch until it is asked for what a process really sees."""

from __future__ import annotations

import os
from pathlib import Path

from workers.pools.ray_shapes import Node

AUTO = "auto"
_NVIDIA = Path("/proc/driver/nvidia")


def resolved(device: str) -> str:
    """`auto` is a GPU where this process sees one (a Ray slot sees those it was given), else the CPU."""
    if device != AUTO:
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def kind(device: str) -> str:
    """ "cuda" or "cpu", told without torch: what a plan names its measure jobs by."""
    if device == AUTO:
        return "cuda" if (_NVIDIA / "version").exists() else "cpu"
    return device.partition(":")[0]


def here() -> Node:
    """This machine as a node of a cluster of one: its CPUs and NVIDIA GPUs, told without torch or Ray."""
    gpus = len(list((_NVIDIA / "gpus").glob("*")))
    return Node("this machine", {"CPU": float(os.cpu_count() or 1), "GPU": float(gpus)})
