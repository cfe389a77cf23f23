"""Models that `sweepboard export` wrote: read back with torch, timm and safetensors alone.

    model = load("DIR")            # images (B, 3, size, size), normalised as config.json says -> logits (B, classes)

A folder holds `model.safetensors` (all values, head included), `config.json`, and `carried.safetensors` where a method
that remains needs what it found in its training data (GPS: the selected indices).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer
from torch import Generator, Tensor, nn

from methods import registry
from methods.api import MethodError, MissingArtifact
from methods.stack import prepare_stack

MODEL, CONFIG, CARRIED = "model.safetensors", "config.json", "carried.safetensors"
FORMAT = "sweepboard-model/1"

Calls = Sequence[tuple[str, Mapping[str, Any]]]
"""A stack: (name, hyper-parameters), left to right."""

Carried = Mapping[str, Mapping[str, Tensor]]
"""Artifact kind -> tensors, as in `Adaptation.carried`."""


class NotAnExport(MethodError):
    """The folder is no exported model, or not one that this version reads."""


def load(folder: str | Path) -> nn.Module:
    """The model on the CPU, in eval mode, nothing of it trainable. Raises NotAnExport, MethodError."""
    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if config.get("format") != FORMAT:
            raise NotAnExport(f"{folder / CONFIG} has format {config.get('format')!r}; expected {FORMAT!r}")
        state = load_file(folder / MODEL)
        carried = load_file(folder / CARRIED) if (folder / CARRIED).exists() else {}
        calls = [(call["name"], call["params"]) for call in config["remaining_methods"]]
        model = assemble(config["backbone"], config["classes"], calls, nested(carried))
        model.load_state_dict(state)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError, RuntimeError) as error:
        raise NotAnExport(f"{folder} is no whole exported model ({error}); export it again") from error
    return model.eval().requires_grad_(False)


def assemble(backbone: Mapping[str, Any], classes: int, calls: Calls, carried: Carried) -> nn.Module:
    """The architecture with random values: the backbone, a head, and the methods prepared without data.

    `backbone`: `timm_name`, or `vision_transformer` with the arguments of timm's class; `input_size` [height, width]
    where it is not the architecture's own. Raises MethodError.
    """
    if arguments := backbone.get("vision_transformer"):
        model: Any = VisionTransformer(**arguments, num_classes=classes)
    else:
        model = timm.create_model(backbone["timm_name"], num_classes=classes)
    if size := backbone.get("input_size"):
        model.set_input_size(img_size=tuple(size))
    methods = [registry.build(name, {key: _tupled(value) for key, value in params.items()}) for name, params in calls]
    if methods:
        prepare_stack(methods, model, _NoData(classes, carried))
    built: nn.Module = model
    return built


def flat(carried: Carried) -> dict[str, Tensor]:
    """As one safetensors file holds it: `kind/name`."""
    return {f"{kind}/{name}": value for kind, parts in carried.items() for name, value in parts.items()}


def nested(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """What `flat` made one."""
    carried: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, _, name = key.partition("/")
        carried.setdefault(kind, {})[name] = value
    return carried


def _tupled(value: Any) -> Any:
    """JSON knows lists only; hyper-parameters are tuples."""
    return tuple(_tupled(item) for item in value) if isinstance(value, list) else value


class _NoData:
    """TrainingData for preparing a method whose values come from a file."""

    def __init__(self, classes: int, carried: Carried) -> None:
        self.classes = classes
        self.generator: Generator = torch.Generator().manual_seed(0)  # draws initial values, which are replaced
        self._carried = carried

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        raise MethodError("a method asked for training images while an exported model was loaded; there are none")

    two_view_batches = batches

    def artifact(self, kind: str) -> Mapping[str, Tensor]:
        if kind not in self._carried:
            raise MissingArtifact(f"{CARRIED} has no artifact {kind!r}; it has {', '.join(self._carried) or 'none'}")
        return self._carried[kind]
