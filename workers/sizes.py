"""What an adapted model is made of, as metrics of its job."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from torch import nn

from storage.records import Job
from workers.adapted import AdaptedModel
from workers.macs import macs_of

_macs: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
"""Of models that are still there: the next linear probe has the same one (`workers.probes`), at the same size."""


def sizes_of(adapted: AdaptedModel, job: Job) -> dict[str, float]:
    """Trained values, head, all values, and multiply-accumulates of one image at the job's input size."""
    size = job.recipe.image_size
    if size is not None and adapted.model not in _macs:
        _macs[adapted.model] = macs_of(adapted.model, size)
    return {
        "trainable_params": sum(value.numel() for value in adapted.trained.values()),
        "head_params": sum(value.numel() for value in adapted.head.values()),
        "total_params": adapted.total_params,
        "macs": _macs[adapted.model] if size is not None else 0,
    }
