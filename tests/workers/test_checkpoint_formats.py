"""Weights in the formats of the field: the same network comes out of each."""

from __future__ import annotations

import argparse
import logging
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.workers.checkpoint_files import (
    CONVNEXT,
    DEIT3,
    DISTILLED,
    MAE,
    SWIN,
    VIT,
    assert_same_function,
    convnext_release,
    google_arrays,
    loaded,
    small,
    swin_release,
)


@pytest.mark.parametrize("name", [VIT, SWIN, CONVNEXT, DISTILLED, MAE])
@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt", ".bin", ".pth.tar"])
def test_a_saved_state_dict_gives_the_same_network_in_every_format(tmp_path, name, ending):
    source = small(name, classes=5)
    path = tmp_path / f"weights{ending}"
    (save_file if ending == ".safetensors" else torch.save)(source.state_dict(), path)
    assert_same_function(loaded(name, path), source)


@pytest.mark.parametrize(("name", "release"), [(SWIN, swin_release), (CONVNEXT, convnext_release)])
def test_files_of_the_releases_are_converted_to_timms_names(tmp_path, name, release):
    source = small(name, classes=5)
    torch.save({"model": release(source.state_dict())}, tmp_path / "release.pth")
    assert_same_function(loaded(name, tmp_path / "release.pth"), source)


def test_layer_scale_of_deit_iii_is_converted_too(tmp_path):
    source = small(DEIT3, classes=5)
    release = {re.sub(r"ls(\d)\.gamma", r"gamma_\1", key): value for key, value in source.state_dict().items()}
    torch.save({"model": release}, tmp_path / "deit3.pth")
    assert_same_function(loaded(DEIT3, tmp_path / "deit3.pth"), source)


@pytest.mark.parametrize("prefix", ["", "opt/target/"], ids=["weights", "with the optimizer"])
def test_a_google_npz_gives_what_timms_own_loader_makes_of_it(tmp_path, prefix):
    source, path = small(VIT, classes=5), tmp_path / "ViT-Ti_16.npz"
    arrays = {f"{prefix}{name}": value for name, value in google_arrays(source.state_dict()).items()}
    np.savez(path, **arrays)
    by_timm = small(VIT)
    by_timm.load_pretrained(str(path))
    model = loaded(VIT, path)
    for key, value in by_timm.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    assert_same_function(model, source)


def test_a_google_npz_of_another_image_size_is_interpolated_as_timm_does(tmp_path, caplog):
    path = tmp_path / "ViT-Ti_16.npz"
    np.savez(path, **google_arrays(small(VIT, img_size=48).state_dict()))
    by_timm = small(VIT)
    by_timm.load_pretrained(str(path))
    with caplog.at_level(logging.WARNING, "workers.pretrained"):
        assert torch.equal(loaded(VIT, path).get_parameter("pos_embed"), by_timm.pos_embed)
    assert "interpolated to the architecture's own grid: pos_embed" in caplog.text
    assert "dropped pre_logits, which only pre-training used" in caplog.text


def test_a_file_of_another_image_size_is_interpolated_and_the_log_says_so(tmp_path, caplog):
    save_file(small(VIT, img_size=48).state_dict(), tmp_path / "larger.safetensors")
    with caplog.at_level(logging.WARNING, "workers.pretrained"):
        model = loaded(VIT, tmp_path / "larger.safetensors")
    assert model.get_parameter("pos_embed").shape == (1, 17, 12)
    assert "interpolated to the architecture's own grid: pos_embed" in caplog.text


@pytest.mark.parametrize("nest", ["model", "state_dict", "model_ema", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "encoder."])
def test_training_checkpoints_are_unwrapped(tmp_path, nest, prefix):
    source = small(VIT, classes=5)
    state = {f"{prefix}{key}": value for key, value in source.state_dict().items()}
    torch.save({nest: state, "epoch": 3, "args": argparse.Namespace(lr=0.1)}, tmp_path / "run.pth")
    assert_same_function(loaded(VIT, tmp_path / "run.pth"), source)


def test_of_several_state_dicts_the_average_is_taken_and_the_log_says_so(tmp_path, caplog):
    source = small(VIT, classes=5)
    torch.save({"model": small(VIT, classes=4).state_dict(), "model_ema": source.state_dict()}, tmp_path / "run.pth")
    with caplog.at_level(logging.WARNING, "workers.pretrained"):
        assert_same_function(loaded(VIT, tmp_path / "run.pth"), source)
    assert "took 'model_ema' of model_ema, model" in caplog.text


@pytest.mark.parametrize("prefix", ["", "encoder."], ids=["MAE", "SimMIM"])
def test_what_only_masked_pre_training_used_is_dropped_by_name(tmp_path, caplog, prefix):
    source = small(MAE, classes=0)
    decoder = ["mask_token", "decoder_pos_embed", "decoder_embed.weight", "decoder_blocks.0.norm1.bias"]
    if prefix:
        decoder = [f"{prefix}mask_token", "decoder.0.weight"]
    state = {f"{prefix}{key}": value for key, value in source.state_dict().items()}
    torch.save({"model": state | {key: torch.ones(3) for key in decoder}}, tmp_path / "mae.pth")
    with caplog.at_level(logging.WARNING, "workers.pretrained"):
        assert_same_function(loaded(MAE, tmp_path / "mae.pth"), source)
    assert "dropped what only pre-training used: decoder" in caplog.text
    assert "mask_token" in caplog.text


@pytest.mark.filterwarnings("ignore:torch.searchsorted", "ignore:Using a non-tuple")  # in timm's interpolation
def test_swins_window_tables_of_another_window_are_interpolated_and_the_log_says_so(tmp_path, caplog):
    save_file(small(SWIN, window_size=8).state_dict(), tmp_path / "wide.safetensors")
    with caplog.at_level(logging.WARNING, "workers.pretrained"):
        loaded(SWIN, tmp_path / "wide.safetensors")
    assert "own grid: layers.0.blocks.0.attn.relative_position_bias_table" in caplog.text
