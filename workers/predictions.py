"""Per-image predictions of the split that scores a job, packed for paired statistics. Free of torch: reports read them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from storage.records.whole import written_whole


@dataclass(frozen=True)
class Predictions:
    """Per image [n], in the split's order: true class, predicted class, probability of the predicted class."""

    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float16]


def save_predictions(folder: Path, predictions: Predictions) -> Path:
    """Write `<folder>/<content hash>.npz` unless it is there; classes as int32. Raises OSError."""
    arrays = {
        "labels": predictions.labels.astype("<i4"),
        "predicted": predictions.predicted.astype("<i4"),
        "probability": predictions.probability.astype("<f2"),
    }
    content = hashlib.sha256(b"".join(array.tobytes() for array in arrays.values())).hexdigest()
    path = folder / f"{content[:32]}.npz"
    if not path.exists():
        with written_whole(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
    return path


def load_predictions(path: Path) -> Predictions:
    """What `save_predictions` wrote. Raises FileNotFoundError."""
    with np.load(path) as arrays:
        return Predictions(
            arrays["labels"].astype(np.int64), arrays["predicted"].astype(np.int64), arrays["probability"]
        )
