"""Pre-trained values into an architecture: names converted as timm does, then strictly all of them or an error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from timm.models import vision_transformer
from torch import Tensor, nn

from storage.records import BackboneRef
from workers.checkpoint_formats import Checkpoint, read_checkpoint
from workers.embedded.catalogue import EMBEDDED
from workers.errors import WeightsMismatch

_SHOWN_KEYS = 5
_WRAPPERS = ("module.", "_orig_mod.", "module.")  # data-parallel training and torch.compile, in either order
_ENCODER = "encoder."  # SimMIM and others that keep the backbone beside a decoder
_DECODER = ("decoder.", "decoder_")  # MAE's decoder: `decoder_embed`, `decoder_blocks.0…`, `decoder_pred`
_MASK_TOKEN = "mask_token"
_PATCHES = "patch_embed.proj.weight"
_POSITIONS = ("pos_embed", "relative_position_bias_table")

_log = logging.getLogger(__name__)


def load_weights(model: nn.Module, backbone: BackboneRef, path: Path) -> None:
    """Load a weights file into a headless model, strictly but for the classifier; fp16 values become fp32.

    Keys are converted as timm does for checkpoints of the architecture; position embeddings of another grid are
    interpolated by it. What pre-training alone used (a decoder, a mask token, pre_logits) is dropped and named in the
    log. Raises WeightsMismatch naming the keys.
    """
    read = read_checkpoint(path)
    notes = list(read.notes)
    expected = model.state_dict()
    state = _unwrapped(read.state, expected, notes)
    before, failure = state, ""
    if backbone.name not in EMBEDDED:
        state, failure = _converted(state, model, read)
    state = {key: value for key, value in state.items() if key in expected or not _is_head(key, model)}
    masks = [key for key in (*before, *state) if _is_mask(key) and key not in expected]  # timm may have dropped it
    state = _without(state, masks, notes)
    _check(state, expected, f"{path} does not fit {backbone.name}{failure}")
    notes += _interpolated(before, state)
    if notes:
        _log.warning("%s: %s", path, "; ".join(notes))
    model.load_state_dict(dict(state))


def _unwrapped(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], notes: list[str]) -> Mapping[str, Tensor]:
    """Without the prefixes that wrappers leave on every key, and without a decoder."""
    for prefix in _WRAPPERS:
        state = _stripped(state, expected, prefix)
    decoder = [key for key in state if key.startswith(_DECODER) and key not in expected]
    return _stripped(_without(state, decoder, notes), expected, _ENCODER)


def _stripped(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], prefix: str) -> Mapping[str, Tensor]:
    if not all(key.startswith(prefix) for key in state) or any(key.startswith(prefix) for key in expected):
        return state
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _without(state: Mapping[str, Tensor], keys: list[str], notes: list[str]) -> Mapping[str, Tensor]:
    if not keys:
        return state
    notes.append(f"dropped what only pre-training used: {', '.join(sorted({key.partition('.')[0] for key in keys}))}")
    return {key: value for key, value in state.items() if key not in keys}


def _other_patches(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """timm would resample patches of another size without a word; a wrong name must not pass for that."""
    given, wanted = state.get(_PATCHES), expected.get(_PATCHES)
    if given is None or wanted is None or given.ndim != wanted.ndim or given.shape[2:] == wanted.shape[2:]:
        return ""
    sizes = [f"{shape[-2]}x{shape[-1]}" for shape in (given.shape, wanted.shape)]
    return f" (its patches have {sizes[0]} pixels instead of {sizes[1]}, and are not resampled)"


def _converted(state: Mapping[str, Tensor], model: nn.Module, read: Checkpoint) -> tuple[Mapping[str, Tensor], str]:
    """The state under timm's names; where timm cannot convert it, as it was, with the reason as part of a message."""
    convert: Any = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    refused = _other_patches(state, model.state_dict())
    if convert is None or refused:
        return state, refused
    options: dict[str, Any] = {}
    if convert is vision_transformer.checkpoint_filter_fn:
        if read.is_google:
            options = {"interpolation": "bilinear", "antialias": False}  # as timm's loader of such files
        options["adapt_layer_scale"] = any(key.endswith((".gamma_1", ".gamma_2")) for key in state)  # DeiT III
    try:
        converted: dict[str, Tensor] = convert(dict(state), model, **options)
        return converted, ""
    except Exception as error:  # timm's code on keys and shapes that it was not written for
        return state, f" (timm cannot convert it: {type(error).__name__} {error})"


def _check(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], refusal: str) -> None:
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(state.keys() - expected.keys())
    misshapen = [
        f"{key} {list(state[key].shape)} instead of {list(expected[key].shape)}"
        for key in sorted(expected.keys() & state.keys())
        if state[key].shape != expected[key].shape
    ]
    if missing or extra or misshapen:
        raise WeightsMismatch(
            f"{refusal}: missing {_some(missing)}; not in the architecture {_some(extra)}; "
            f"of another shape {_some(misshapen)}. Name the architecture that the file was made for"
        )


def _interpolated(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Iterable[str]:
    changed = [
        key
        for key, value in after.items()
        if key.endswith(_POSITIONS) and key in before and before[key].shape != value.shape
    ]
    if changed:
        yield f"interpolated to the architecture's own grid: {_some(changed)}"


def _is_head(key: str, model: nn.Module) -> bool:
    named = getattr(model, "pretrained_cfg", {}).get("classifier", "head")
    prefixes = named if isinstance(named, tuple | list) else (named,)
    return any(key.startswith(f"{prefix}.") for prefix in prefixes)


def _is_mask(key: str) -> bool:
    return key.rpartition(".")[2] == _MASK_TOKEN


def _some(keys: list[str]) -> str:
    if not keys:
        return "none"
    rest = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return ", ".join(keys[:_SHOWN_KEYS]) + rest
