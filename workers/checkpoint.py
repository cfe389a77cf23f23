"""Delta checkpoints: only what was trained, the head, and what the methods need to be prepared again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Generator, Tensor

from methods.api import MissingArtifact
from storage.records import Job, MethodCall, canonical_json
from storage.records.whole import written_whole
from workers.adapted import AdaptedModel, adapt
from workers.backbones import build_model
from workers.errors import DeltaMismatch
from workers.randomness import generator
from workers.site import Site

FORMAT = "sweepboard-delta/1"
_CARD = "sweepboard"
_TRAINED, _CARRIED = "trained/", "carried/"


def save_delta(path: Path, adapted: AdaptedModel, job: Job) -> int:
    """Write the delta, whole or not at all; its size in bytes. Raises OSError."""
    card = {"format": FORMAT, "base_weights_hash": job.backbone.weights_hash, "job": job.to_json()}
    save_tensors(path, delta_tensors(adapted), card)
    return path.stat().st_size


def delta_tensors(adapted: AdaptedModel) -> dict[str, Tensor]:
    """What a delta holds: trained values, head, and what the methods need to be prepared again."""
    tensors = {f"{_TRAINED}{name}": value.detach() for name, value in adapted.moving.items()}
    for kind, carried in adapted.adaptation.carried.items():
        tensors |= {f"{_CARRIED}{kind}/{name}": value for name, value in carried.items()}
    return tensors


def save_tensors(path: Path, tensors: Mapping[str, Tensor], card: Mapping[str, object]) -> None:
    """A safetensors file, whole or not at all; equal content gives equal bytes. Raises OSError.

    The card is one metadata entry, because safetensors writes several in no fixed order.
    """
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    with written_whole(path) as temporary:
        try:
            save_file(plain, temporary, metadata={_CARD: canonical_json(card)})
        except SafetensorError as error:  # its word for a full disk
            raise OSError(f"{path} cannot be written ({error}); free space or fix the folder") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU. Raises FileNotFoundError."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)


def restore(path: Path, site: Site, methods: tuple[MethodCall, ...] | None = None) -> tuple[AdaptedModel, Job]:
    """The trained model: the base weights, the methods prepared as then, the trained values put in; and the job that
    trained it. `methods`: another stack, which trains the same values.

    With its own stack it gives the logits of the trained model bit for bit. Raises FileNotFoundError, DeltaMismatch,
    and what building the backbone raises.
    """
    with safe_open(path, framework="pt") as file:
        card = json.loads((file.metadata() or {}).get(_CARD, "{}"))
    if card.get("format") != FORMAT:
        raise DeltaMismatch(f"{path} has format {card.get('format')!r}; expected a delta of format {FORMAT!r}")
    job = Job.from_json(card["job"])
    tensors = load_tensors(path)
    carried: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(_CARRIED):
            kind, _, part = name.removeprefix(_CARRIED).partition("/")
            carried.setdefault(kind, {})[part] = value
    adapted = adapt(build_model(job, site), replace(job, methods=methods or job.methods), _CarriedData(job, carried))
    trained = {name.removeprefix(_TRAINED): value for name, value in tensors.items() if name.startswith(_TRAINED)}
    _put_in(path, adapted, trained)
    return adapted, job


def _put_in(path: Path, adapted: AdaptedModel, trained: Mapping[str, Tensor]) -> None:
    moving = adapted.moving
    differing = sorted(moving.keys() ^ trained.keys())
    differing += [name for name in moving.keys() & trained.keys() if moving[name].shape != trained[name].shape]
    if differing:
        raise DeltaMismatch(
            f"{path} does not fit the model its job describes: {differing[0]} (and {len(differing) - 1} more) is on "
            "one side only or of another shape; it was written by another revision of a method: run the job again"
        )
    with torch.no_grad():
        for name, value in trained.items():
            moving[name].copy_(value)


class _CarriedData:
    """TrainingData for preparing a method from its delta alone: no images, but what the delta carries."""

    def __init__(self, job: Job, carried: Mapping[str, Mapping[str, Tensor]]) -> None:
        self._carried = carried
        self.classes = job.dataset.classes
        self.generator: Generator = generator(job.seed, "method")

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        raise DeltaMismatch(
            "a method asked for training images while a delta was restored; it must carry what it found in them "
            "(Adaptation.carried)"
        )

    two_view_batches = batches

    def artifact(self, kind: str) -> Mapping[str, Tensor]:
        if kind not in self._carried:
            raise MissingArtifact(
                f"the delta carries no artifact {kind!r}; it has {', '.join(self._carried) or 'none'}"
            )
        return self._carried[kind]
