"""Which device a process runs on. Free of torch until it is asked for what a process really sees."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from workers.pools.ray_shapes import Node

AUTO = "auto"
_NVIDIA = Path("/proc/driver/nvidia")
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_SMI_S = 10.0


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
    """This machine as a node of a cluster of one: its CPUs, NVIDIA GPUs and memory, told without torch or Ray.

    As a local Ray counts them: the CPUs that this process may use, the GPUs that CUDA_VISIBLE_DEVICES leaves."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    resources = {"CPU": float(cpus), "GPU": float(_gpus()), "memory": float(_memory_bytes())}
    return Node("this machine", resources)


def _gpus() -> int:
    """Where a system hides the driver's files (WSL, some containers), nvidia-smi is asked."""
    found = len(list((_NVIDIA / "gpus").glob("*"))) or len(list(Path("/dev").glob("nvidia[0-9]*")))
    if not found and (smi := shutil.which("nvidia-smi")):
        try:
            listed = subprocess.run([smi, "-L"], capture_output=True, text=True, timeout=_SMI_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return 0
        found = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else min(found, len([name for name in visible.split(",") if name.strip()]))


def _memory_bytes() -> int:
    """All memory of the machine, or what this process's control group may have of it."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [path.read_text().strip() for path in _MEMORY_LIMITS if path.exists()]
    return min([total, *(int(limit) for limit in limits if limit.isdigit())])
