"""Peak memory: of a GPU what torch allocated, of a CPU how much this process grew."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
import sys
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets the peak resident set size to the present one


class PeakMemory:
    """The largest memory in use since `reset`, in MiB; on a CPU above what the process had when this was made.

    Without Linux's /proc the peak cannot be reset: `mib` is then that of the whole process so far, above the start.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.reset()
        self._before_mib = 0.0 if device.type == "cuda" else _resident_mib("VmRSS")

    def reset(self) -> None:
        """Forget earlier peaks."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        gc.collect()
        with contextlib.suppress(AttributeError):  # glibc only: what was freed would be counted as in use
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):  # not Linux, or a container that forbids it
            _RESET.write_text(_RESET_PEAK)

    def mib(self) -> float:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**20
        return max(0.0, _resident_mib("VmHWM") - self._before_mib)

    def footprint(self) -> dict[str, float]:
        """What a node and its GPU must have for this process since `reset`, in MiB.

        `host_peak_mem_mib`: resident memory at its largest, without mapped files and shared memory (libraries, decoded
        images): all slots of a node have those in common. On a GPU `device_peak_mem_mib`, what torch held there, its
        cache included but not the CUDA context, and `device_total_mem_mib`.
        """
        shared_mib = _resident_mib("RssFile") + _resident_mib("RssShmem") if _STATUS.exists() else 0.0
        found = {"host_peak_mem_mib": max(0.0, _resident_mib("VmHWM") - shared_mib)}
        if self._device.type == "cuda":
            found["device_peak_mem_mib"] = torch.cuda.max_memory_reserved(self._device) / 2**20
            found["device_total_mem_mib"] = torch.cuda.get_device_properties(self._device).total_memory / 2**20
        return found


def _resident_mib(name: str) -> float:
    """VmRSS (now), VmHWM (peak) or a part of VmRSS of this process; elsewhere than on Linux its peak in both cases."""
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
