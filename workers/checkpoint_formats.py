"""Weights files in the formats of the field -> tensors by the file's own names. No code in a file is ever run."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from workers.errors import WeightsMismatch
from workers.google_npz import read_google_npz

_NESTS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Where training code keeps the state dict; the first one counts, as in timm: an average is what a paper reports."""

_SHOWN_NAMES = 5


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and what a reader of the log must know of how they were found. `is_google`: from an .npz file,
    already under timm's names."""

    state: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    is_google: bool = False


def read_checkpoint(path: Path) -> Checkpoint:
    """The tensors of a file; its ending decides the format. Raises WeightsMismatch where it is damaged or another."""
    if path.suffix == ".safetensors":
        return Checkpoint(_safetensors(path))
    if path.suffix == ".npz":
        state, notes = read_google_npz(path)
        return Checkpoint(state, notes, is_google=True)
    return _pickled(path)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # safetensors has one error for every damage, and it is no subclass of ours
        raise WeightsMismatch(f"{path} is no readable .safetensors file ({error}); copy or convert it again") from None


def _pickled(path: Path) -> Checkpoint:
    """What `torch.save` wrote. Only tensors, containers, numbers and the Namespace of command lines are read."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise anything: zip, pickle and storage errors
        raise WeightsMismatch(_unreadable(path, error)) from None
    if not isinstance(found, dict):
        raise WeightsMismatch(f"{path} holds a {type(found).__name__}; expected a state dict: tensors by name")
    nests = [name for name in _NESTS if isinstance(found.get(name), dict)]
    state = found[nests[0]] if nests else found
    strangers = [str(name) for name, value in state.items() if not (isinstance(name, str) and torch.is_tensor(value))]
    if strangers or not state:
        held = ", ".join(strangers[:_SHOWN_NAMES]) or "nothing"
        raise WeightsMismatch(
            f"{path} holds {held} beside or instead of tensors; expected a state dict, or one under "
            f"{', '.join(reversed(_NESTS))}. Save that part alone with torch.save"
        )
    notes = (f"took {nests[0]!r} of {', '.join(nests)}",) if len(nests) > 1 else ()
    return Checkpoint(state, notes)


def _unreadable(path: Path, error: Exception) -> str:
    code = re.search(r"GLOBAL (\S+)", str(error))
    if code is not None:
        return (
            f"{path} holds Python objects ({code[1]}), not only tensors, and is not opened: reading them would run "
            "code of the file. Where you trust it, save model.state_dict() with torch.save, or as .safetensors"
        )
    reason = (str(error).strip().splitlines() or ["empty"])[0]
    return (
        f"{path} is no readable PyTorch checkpoint ({type(error).__name__}: {reason[:200]}); copy it again, and give "
        "it the ending of its format: .safetensors, .npz, or .pth, .pt, .bin for what torch.save wrote"
    )
