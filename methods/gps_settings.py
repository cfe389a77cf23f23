"""Presets of GPS as the plan settles them. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping

from methods.api import BackboneFacts
from methods.facts import Value

PRESETS = ("default", "release")
_SAM = "sam"


def settle(params: Mapping[str, Value], facts: BackboneFacts) -> dict[str, Value]:
    """`release` sets the switches of the released code's quirks where the backbone has what they are about."""
    if params["preset"] != "release" or facts.family != _SAM:
        return dict(params)
    return {**params, "train_neck_norm_biases": True}
