"""Weights files that do not fit, are damaged or hold code: refused by name, and nothing in them is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.workers.checkpoint_files import CONVNEXT, DISTILLED, SWIN, VIT, google_arrays, loaded, small
from workers.errors import WeightsMismatch


def test_patches_of_another_size_are_refused_not_resampled(tmp_path):
    save_file(small(VIT, patch_size=16).state_dict(), tmp_path / "coarse.safetensors")
    with pytest.raises(WeightsMismatch, match="its patches have 16x16 pixels instead of 8x8"):
        loaded(VIT, tmp_path / "coarse.safetensors")


def _deeper(path: Path) -> None:
    np.savez(path, **google_arrays(small(VIT, depth=3).state_dict()))


def _shallower(path: Path) -> None:
    np.savez(path, **google_arrays(small(VIT, depth=1).state_dict()))


def _without_keys(path: Path) -> None:
    arrays = google_arrays(small(VIT).state_dict())
    np.savez(path, **{name: value for name, value in arrays.items() if "_1/MultiHead" not in name or "key" not in name})


def _another_network(path: Path) -> None:
    torch.save(small(CONVNEXT).state_dict(), path)


def _distilled(path: Path) -> None:
    torch.save(small(DISTILLED).state_dict(), path)


@pytest.mark.parametrize(
    ("name", "file", "write", "told"),
    [
        (VIT, "deep.npz", _deeper, r"not in the architecture blocks\.2\."),
        (VIT, "flat.npz", _shallower, r"missing blocks\.1\."),
        (VIT, "part.npz", _without_keys, r"missing blocks\.1\.attn\.qkv\.bias.*encoderblock_1/MultiHead.*/query/bias"),
        (SWIN, "vit.npz", _deeper, r"are not resampled.*missing layers\.0\..*not in the architecture blocks\.0\."),
        (VIT, "cnn.pth", _another_network, r"missing blocks\.0\..*not in the architecture stages\.0\."),
        (CONVNEXT, "vit.pth", _distilled, r"timm cannot convert it.*missing head\.norm\..*blocks\.0\."),
        (VIT, "distilled.pth", _distilled, r"not in the architecture dist_token"),
    ],
)
def test_a_file_for_another_architecture_is_refused_with_its_keys(tmp_path, name, file, write, told):
    write(tmp_path / file)
    with pytest.raises(WeightsMismatch, match=told):
        loaded(name, tmp_path / file)


class _Payload:
    """Unpickled naively, it makes a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        import os

        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("ending", [".pth", ".npz"])
def test_code_in_a_file_is_never_run(tmp_path, ending):
    path, made = tmp_path / f"weights{ending}", tmp_path / "made"
    if ending == ".npz":
        np.savez(path, **{"embedding/kernel": np.array([_Payload(made)], dtype=object)}, allow_pickle=True)
    else:
        torch.save({"model": {"norm.weight": torch.ones(1)}, "run": _Payload(made)}, path)
    with pytest.raises(WeightsMismatch, match="not opened: reading them would run" if ending == ".pth" else "plain"):
        loaded(VIT, path)
    assert not made.exists()


def test_a_pickled_model_is_refused_with_what_to_save_instead(tmp_path):
    torch.save(small(VIT), tmp_path / "model.pth")
    with pytest.raises(WeightsMismatch, match=r"VisionTransformer\), not only tensors.*save model\.state_dict\(\)"):
        loaded(VIT, tmp_path / "model.pth")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"teacher": {"norm.weight": torch.ones(1)}}, "holds teacher beside or instead of tensors"),
        ({"model": {}}, "holds nothing"),
        ([torch.ones(1)], "holds a list; expected a state dict"),
    ],
)
def test_a_file_without_a_state_dict_says_what_it_holds(tmp_path, content, told):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(WeightsMismatch, match=told):
        loaded(VIT, tmp_path / "odd.pth")


@pytest.mark.parametrize("ending", [".safetensors", ".npz", ".pth", ".bin"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "another format"])
def test_a_damaged_file_or_one_of_another_format_is_refused(tmp_path, ending, damage):
    path, source = tmp_path / f"weights{ending}", small(VIT)
    if ending == ".npz":
        np.savez(path, **google_arrays(source.state_dict()))
    else:
        (save_file if ending == ".safetensors" else torch.save)(source.state_dict(), path)
    whole = path.read_bytes()
    if damage == "another format":
        (torch.save if ending == ".safetensors" else save_file)(source.state_dict(), path)
    else:
        path.write_bytes({"empty": b"", "truncated": whole[: len(whole) // 2], "text": b"<html>404</html>"}[damage])
    with pytest.raises(WeightsMismatch, match=re.escape(str(path))):
        loaded(VIT, path)
