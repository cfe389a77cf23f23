"""PYRA's presets against a backbone, free of torch: plans settle them before a job is named.

| switch         | default     | release     | paper       |
|----------------|-------------|-------------|-------------|
| place          | after_attn  | after_attn  | before_attn | merge between attention and MLP, or before attention
| split          | alternating | alternating | random      | who may be merged into whom
| pooling        | weighted    | weighted    | mean        | mean weighted by sizes, with proportional attention
| norm_affine    | true        | true        | false       | LayerNorm of the information matrix
| w_r_init       | uniform     | uniform     | gaussian    |
| modulate_last  | (auto)      | true        | false       | in the last block too; auto: if the head reads patches
| distilled_head | both        | class_only  | both        | what the loss of distilled DeiT reads
| prop_attn      | not for MAE | true        | false       |

A switch that the user sets wins over the preset.
"""

from __future__ import annotations

from collections.abc import Mapping

from methods.api import BackboneFacts
from methods.facts import Value
from methods.token_schedule import settle as settle_schedule
from methods.tome_settings import is_mae

PRESETS: Mapping[str, Mapping[str, Value]] = {
    "default": {
        "place": "after_attn",
        "split": "alternating",
        "pooling": "weighted",
        "norm_affine": True,
        "w_r_init": "uniform",
        "distilled_head": "both",
    },
    "release": {
        "place": "after_attn",
        "split": "alternating",
        "pooling": "weighted",
        "norm_affine": True,
        "w_r_init": "uniform",
        "modulate_last": True,
        "distilled_head": "class_only",
        "prop_attn": True,
    },
    "paper": {
        "place": "before_attn",
        "split": "random",
        "pooling": "mean",
        "norm_affine": False,
        "w_r_init": "gaussian",
        "modulate_last": False,
        "distilled_head": "both",
        "prop_attn": False,
    },
}


def settle(params: Mapping[str, Value], facts: BackboneFacts) -> dict[str, Value]:
    """The schedule as a list and every switch of the preset filled in where it was left open. Raises MethodError."""
    settled = settle_schedule(params, facts)
    for switch, value in PRESETS[str(params["preset"])].items():
        if settled[switch] is None:
            settled[switch] = value
    if settled["prop_attn"] is None:
        settled["prop_attn"] = settled["pooling"] == "weighted" and not is_mae(facts)
    return settled
