"""The job's precision on the job's device."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from workers.errors import Unsupported

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(precision: str, device: torch.device) -> None:
    """Raises Unsupported where the device cannot train in it."""
    if precision == "fp16" and device.type != "cuda":
        raise Unsupported(f"recipe.precision is 'fp16', which needs a CUDA device and not {device}; use bf16 or fp32")


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Forward passes in that precision; weights and optimizer stay fp32."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_DTYPES[precision])
