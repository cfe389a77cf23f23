"""The code that an exported folder ships: a few lines that give its model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LOADER = "load.py"

_TIMM = """\
from pathlib import Path

import timm
from safetensors.torch import load_file

model = timm.create_model({name!r}, num_classes={classes})
{resize}model.load_state_dict(load_file(Path(__file__).parent / "model.safetensors"))
model.eval()
"""
_VISION_TRANSFORMER = """\
from pathlib import Path

from safetensors.torch import load_file
from timm.models.vision_transformer import VisionTransformer

model = VisionTransformer({arguments}, num_classes={classes})
{resize}model.load_state_dict(load_file(Path(__file__).parent / "model.safetensors"))
model.eval()
"""
_METHODS = """\
from pathlib import Path

from methods.exported import load  # of the package sweepboard

model = load(Path(__file__).parent)
"""


def loader_text(config: Mapping[str, Any]) -> str:
    """A Python file that defines `model`; `config` is that of the folder."""
    return _docstring(config) + _code(config)


def _code(config: Mapping[str, Any]) -> str:
    backbone, classes = config["backbone"], config["classes"]
    if config["remaining_methods"]:
        return _METHODS
    size = backbone.get("input_size")
    resize = f"model.set_input_size(img_size={tuple(size)})\n" if size else ""
    if given := backbone.get("vision_transformer"):
        arguments = ", ".join(f"{name}={value!r}" for name, value in given.items())
        return _VISION_TRANSFORMER.format(arguments=arguments, classes=classes, resize=resize)
    return _TIMM.format(name=backbone["timm_name"], classes=classes, resize=resize)


def _docstring(config: Mapping[str, Any]) -> str:
    given = config["input"]
    stack = " + ".join(call["name"] for call in config["methods"])
    size = given["image_size"]
    if given["resize"] == "squash":
        fitted = f"resized to {size} x {size} pixels ({given['interpolation']}, aspect not kept)"
    else:
        fitted = (
            f"short side resized ({given['interpolation']}, crop_pct {given['crop_pct']:g}), centre {size} x {size}"
        )
    return (
        f'"""{stack} on {config["backbone"]["name"]}, {config["dataset"]["name"]}, job {config["job_id"]}.\n\n'
        f"Images: RGB, {fitted},\nvalues from 0 to 1, minus mean {given['mean']}, divided by std {given['std']}.\n"
        f"Gives logits (B, {config['classes']}); more in config.json.\n"
        '"""\n\n'
    )
