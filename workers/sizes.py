"""What an adapted model is made of, as metrics of its job."""

from __future__ import annotations

from storage.records import Job
from workers.adapted import AdaptedModel
from workers.macs import macs_of


def sizes_of(adapted: AdaptedModel, job: Job) -> dict[str, float]:
    """Trained values, head, all values, and multiply-accumulates of one image at the job's input size."""
    size = job.recipe.image_size
    return {
        "trainable_params": sum(value.numel() for value in adapted.trained.values()),
        "head_params": sum(value.numel() for value in adapted.head.values()),
        "total_params": adapted.total_params,
        "macs": macs_of(adapted.model, size) if size is not None else 0,
    }
