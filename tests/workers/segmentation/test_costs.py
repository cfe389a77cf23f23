"""SAM-B with its decoder, counted without weights: the numbers of GPS's release."""

from __future__ import annotations

import pytest

from methods import registry
from methods.params import resolve_params
from storage.records import SEGMENTATION, MethodCall, Recipe
from workers.backbone_facts import table
from workers.costs import Costs, costs_of

SAM_B = "samvit_base_patch16.sa1b"
DECODER = 4_058_340 + 256


def counted(method: str, **params: object) -> Costs:
    facts, described = table()[SAM_B].facts, registry.facts(method)
    own = described.settled(resolve_params(described, {**described.by_task.get(SEGMENTATION, {}), **params})[0], facts)
    return costs_of(facts, [MethodCall(method, described.revision, own)], 1, Recipe(optimizer="adam"), SEGMENTATION)


def test_gps_trains_the_released_4_227_044_values_under_release():
    found = counted("gps", preset="release")
    assert (found.trainable_params, found.head_params) == (168_448, DECODER)
    assert found.trainable_params + found.head_params == 4_227_044


def test_gps_leaves_the_necks_norms_alone_by_default():
    assert counted("gps").trainable_params == 168_448 - 512


@pytest.mark.parametrize(
    ("method", "params", "trained"),
    [
        ("linear", {}, 0),
        ("full", {}, 89_670_912),
        ("lora", {"rank": 8}, 12 * 8 * (768 + 2304)),
        ("bitfit", {}, 12 * 11 * 768 + 768 + 2 * 256),
    ],
)
def test_other_methods_train_what_their_rules_say(method: str, params: dict[str, object], trained: int):
    found = counted(method, **params)
    assert (found.trainable_params, found.head_params) == (trained, DECODER)


def test_the_part_of_the_decoder_that_one_mask_does_not_need_has_no_optimizer_state():
    found = counted("linear")
    idle = 3 * (2 * (256 * 257) + 257 * 32) + 2 * (256 * 257) + 257 * 4
    state = found.optimizer_state_bytes
    assert state // 8 == pytest.approx(DECODER - idle, abs=200)  # and four bytes per tensor for the step
