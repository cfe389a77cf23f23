"""ViT weights as Google publishes them (`ViT-B_16.npz`, AugReg): Flax arrays -> tensors under timm's names.

Layout: github.com/google-research/vision_transformer; the mapping is that of timm's own loader, written for names so
that what a file lacks or has too much is seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from workers.errors import WeightsMismatch

_PREFIX = "opt/target/"  # early releases kept the whole optimizer
_DROPPED = ("head/", "pre_logits/")  # the classifier, and the layer before it that only pre-training had
_QKV = ("query", "key", "value")
_ATTENTION = "MultiHeadDotProductAttention_1"

_OUTSIDE = {
    "cls": "cls_token",
    "embedding/kernel": "patch_embed.proj.weight",
    "embedding/bias": "patch_embed.proj.bias",
    "Transformer/posembed_input/pos_embedding": "pos_embed",
    "Transformer/encoder_norm/scale": "norm.weight",
    "Transformer/encoder_norm/bias": "norm.bias",
}
_IN_BLOCK = {
    "LayerNorm_0/scale": "norm1.weight",
    "LayerNorm_0/bias": "norm1.bias",
    "LayerNorm_2/scale": "norm2.weight",
    "LayerNorm_2/bias": "norm2.bias",
    f"{_ATTENTION}/out/kernel": "attn.proj.weight",
    f"{_ATTENTION}/out/bias": "attn.proj.bias",
    "MlpBlock_3/Dense_0/kernel": "mlp.fc1.weight",
    "MlpBlock_3/Dense_0/bias": "mlp.fc1.bias",
    "MlpBlock_3/Dense_1/kernel": "mlp.fc2.weight",
    "MlpBlock_3/Dense_1/bias": "mlp.fc2.bias",
}
_BLOCK = re.compile(r"Transformer/encoderblock_(\d+)/(.+)")


def read_google_npz(path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The backbone's tensors under timm's names, and notes for the log. Names that ViTs do not have stay as they are.

    Raises WeightsMismatch.
    """
    found = _arrays(path)
    dropped = sorted({name.partition("/")[0] for name in found if name.startswith(_DROPPED[1:])})
    arrays = {name: value for name, value in found.items() if not name.startswith(_DROPPED)}
    try:
        state = _renamed(arrays)
    except (IndexError, RuntimeError) as error:
        raise WeightsMismatch(f"{path} has arrays of shapes that Google's ViTs do not have ({error})") from None
    return state, (f"dropped {', '.join(dropped)}, which only pre-training used",) if dropped else ()


def _arrays(path: Path) -> dict[str, Tensor]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = {name: name.removeprefix(_PREFIX) for name in archive.files}
            wanted = {name: short for name, short in names.items() if short != name or not name.startswith("opt/")}
            if "embedding/kernel" in wanted.values():
                return {short: torch.from_numpy(archive[name]) for name, short in wanted.items()}
    except Exception as error:  # a damaged archive can raise anything: zip, zlib, value and type errors
        raise WeightsMismatch(
            f"{path} is no readable .npz archive of plain arrays ({type(error).__name__}: {error}); copy it again, or "
            "give it the ending of its format: .safetensors, .pth"
        ) from None
    raise WeightsMismatch(
        f"{path} is no ViT in Google's layout (no array embedding/kernel, but {', '.join(sorted(names)[:5]) or 'none'})"
    )


def _renamed(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, value in arrays.items():
        block = _BLOCK.fullmatch(name)
        if name in _OUTSIDE:
            state[_OUTSIDE[name]] = value.permute(3, 2, 0, 1) if name == "embedding/kernel" else value
        elif block is not None and block[2] in _IN_BLOCK:
            state[f"blocks.{block[1]}.{_IN_BLOCK[block[2]]}"] = _linear(block[2], value)
        elif block is not None and block[2].startswith(f"{_ATTENTION}/query/"):
            _join(arrays, name, f"blocks.{block[1]}.attn.qkv", state)
        elif not _is_joined(arrays, name):
            state[name] = value
    return state


def _linear(name: str, value: Tensor) -> Tensor:
    """A dense kernel `[in, out]`, or attention's last `[heads, head dim, out]`, as torch's `[out, in]`."""
    return value.flatten(0, -2).T if name.endswith("/kernel") else value


def _join(arrays: Mapping[str, Tensor], query: str, target: str, state: dict[str, Tensor]) -> None:
    """Query, key and value, `[in, heads, head dim]` each, as one matrix `[3 · out, in]`; biases as one vector."""
    parts = [arrays.get(query.replace("/query/", f"/{part}/")) for part in _QKV]
    present = [part for part in parts if part is not None]
    if len(present) < len(_QKV):
        state[query] = present[0]
    elif query.endswith("/kernel"):
        state[f"{target}.weight"] = torch.cat([part.flatten(1).T for part in present])
    else:
        state[f"{target}.bias"] = torch.cat([part.flatten() for part in present])


def _is_joined(arrays: Mapping[str, Tensor], name: str) -> bool:
    """Whether the array is a key or a value that went into a matrix with its query."""
    return any(f"/{part}/" in name and name.replace(f"/{part}/", "/query/") in arrays for part in _QKV[1:])
