"""ToMe's settings against a backbone, free of torch: plans settle them before a job is named."""

from __future__ import annotations

from collections.abc import Mapping

from methods.api import BackboneFacts
from methods.facts import Value
from methods.token_schedule import settle as settle_schedule


def settle(params: Mapping[str, Value], facts: BackboneFacts) -> dict[str, Value]:
    """The schedule as a list; proportional attention off for MAE and on elsewhere, as in ToMe's release.

    Raises MethodError.
    """
    settled = settle_schedule(params, facts)
    if settled["prop_attn"] is None:
        settled["prop_attn"] = not is_mae(facts)
    return settled


def is_mae(facts: BackboneFacts) -> bool:
    """Whether the weights are a masked autoencoder's: pre-trained without ever attending to all patches."""
    return facts.name.endswith(".mae")
