"""Derived randomness: every random choice of a job has a generator of its own, named by the seed and its purpose.

Nothing is drawn from the process's global state, so a job is repeatable whatever ran before it; layers that know
no generator (drop path, initialisers) run inside `seeded`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed: the first bytes of SHA-256 over the seed and the names."""
    text = "\x1f".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A fresh CPU generator; equal arguments give equal streams."""
    return torch.Generator().manual_seed(derived_seed(seed, *names))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """As `generator`, for distributions that torch draws only from its global state (beta)."""
    return np.random.default_rng(derived_seed(seed, *names))


@contextmanager
def seeded(seed: int, *names: str | int) -> Iterator[None]:
    """Torch's global generators (CPU and every CUDA device in use) seeded within the block and restored after it."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        # torch.manual_seed keeps a call and its traceback for each kind of device that this process has not used
        torch.default_generator.manual_seed(derived_seed(seed, *names))
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(derived_seed(seed, *names))
        yield
