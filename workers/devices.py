"""Which device a process runs on. Free of torch until it is asked for what a process really sees."""

from __future__ import annotations

from pathlib import Path

AUTO = "auto"
_NVIDIA = Path("/proc/driver/nvidia/version")


def resolved(device: str) -> str:
    """`auto` is a GPU where this process sees one (a Ray slot sees those it was given), else the CPU."""
    if device != AUTO:
        return device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def kind(device: str) -> str:
    """ "cuda" or "cpu", told without torch: what a plan names its measure jobs by."""
    if device == AUTO:
        return "cuda" if _NVIDIA.exists() else "cpu"
    return device.partition(":")[0]
