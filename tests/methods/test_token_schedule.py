"""Schedules of removed tokens: as published, as generated for a cost, and settled from what a user writes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from methods.api import BackboneFacts, MethodError
from methods.token_schedule import HIGH, LOW, Shape, block_macs, clamped, generated, mac_ratio, settle, tokens_after

VIT_B, VIT_L, DEIT_B = Shape(12, 197, 1, 768), Shape(24, 197, 1, 1024), Shape(12, 198, 2, 768)
NOTHING: dict[str, Any] = {"merge_rate": None, "mac_ratio": None, "speed_up": None, "schedule": ()}

shapes = st.builds(
    lambda depth, patches, prefix, dim: Shape(depth, patches + prefix, prefix, dim),
    *(st.integers(1, 32), st.integers(1, 600), st.integers(0, 5), st.integers(16, 1024)),
)


def facts_of(shape: Shape, name: str = "a_vit") -> BackboneFacts:
    return BackboneFacts(
        name=name,
        family="vit",
        image_size=224,
        patch_size=16,
        depth=shape.depth,
        dim=shape.dim,
        heads=4,
        tokens=shape.tokens,
        prefix_tokens=shape.prefix_tokens,
        features=shape.dim,
        params=1,
        macs=1,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def settled(shape: Shape = VIT_B, **given: Any) -> tuple[int, ...]:
    return tuple(settle({**NOTHING, **given}, facts_of(shape))["schedule"])


@pytest.mark.parametrize(
    ("shape", "published", "left"),
    [
        (VIT_B, LOW, (181, 165, 149, 133, 117, 101, 85, 69, 53, 37, 21, 11)),
        (VIT_B, HIGH, (157, 123, 93, 69, 51, 37, 27, 19, 15, 11, 8, 5)),
        (DEIT_B, LOW, (182, 166, 150, 134, 118, 102, 92, 82, 72, 62, 52, 42)),
        (DEIT_B, HIGH, (158, 124, 94, 70, 52, 38, 28, 20, 16, 12, 9, 6)),
        (VIT_L, HIGH, (177, 158, 140, 123, 108, 95, 82, 70, 60, 51, 43, 37)),
    ],
)
def test_the_released_lists_leave_the_tokens_that_the_release_leaves(shape, published, left):
    found = tokens_after(published[shape.depth, shape.tokens], shape)
    assert found[: len(left)] == left
    assert len(found) == shape.depth


@pytest.mark.parametrize(("published", "macs"), [(None, 17_581_972_224), (LOW, 8_784_285_440), (HIGH, 5_079_271_936)])
def test_block_macs_are_what_fvcore_counts_for_the_release_without_patches_norms_matching_and_pyra(published, macs):
    schedule = (0,) * 12 if published is None else published[12, 197]
    before = (197, *tokens_after(schedule, VIT_B)[:-1])
    after = tokens_after(schedule, VIT_B)
    patches, norms = 196 * 768 * 768, 5 * 768 * (sum(before) + sum(after) + after[-1])
    matching = sum(-(-n // 2) * (n // 2) * 64 for n, r in zip(before, schedule, strict=True) if r)
    pyra = 7 * 768 * sum(schedule)
    assert block_macs(VIT_B, schedule) + patches + norms + matching + pyra == macs


def test_a_block_halves_its_patch_tokens_at_most():
    assert clamped((150, 60, 0, 99), Shape(4, 197, 1, 64)) == (98, 49, 0, 24)


@pytest.mark.parametrize(("schedule", "text"), [((1,) * 11, "11 entries; the backbone has 12"), ((-1,) * 12, "-1")])
def test_a_list_that_is_no_schedule_is_refused(schedule, text):
    with pytest.raises(MethodError, match=text):
        clamped(schedule, VIT_B)


@given(shapes, st.floats(0.05, 1))
def test_a_generated_schedule_fits_its_backbone_and_costs_no_more_than_asked(shape, ratio):
    try:
        schedule = generated(shape, ratio)
    except MethodError as error:
        smallest = float(re.search(r"leaves ([\d.]+) of the MACs", str(error))[1])
        assert ratio < mac_ratio(shape, generated(shape, smallest)) <= smallest < ratio + 1
        return
    assert len(schedule) == shape.depth
    assert clamped(schedule, shape) == schedule
    assert sum(schedule) < shape.patches
    assert mac_ratio(shape, schedule) <= ratio


@given(shapes.filter(lambda shape: shape.patches >= 30 and shape.depth >= 4), st.floats(0.35, 1))
def test_a_generated_schedule_spends_what_it_may_up_to_about_a_token_per_block(shape, ratio):
    try:
        schedule = generated(shape, ratio)
    except MethodError:
        reject()  # four blocks and few tokens leave more than 0.35
    assert ratio - mac_ratio(shape, schedule) < 2 / shape.patches


@given(shapes, st.lists(st.floats(0.2, 1), min_size=2, max_size=2))
def test_a_smaller_ratio_never_costs_more(shape, ratios):
    try:
        less, more = (mac_ratio(shape, generated(shape, ratio)) for ratio in sorted(ratios))
    except MethodError:
        return
    assert less <= more


def test_the_generator_finds_the_released_low_list():
    assert generated(VIT_B, 0.50) == LOW[12, 197]


@pytest.mark.parametrize("shape", [VIT_B, VIT_L, DEIT_B])
def test_the_generator_comes_close_to_the_released_high_lists(shape):
    found = tokens_after(generated(shape, 0.29), shape)
    released = tokens_after(HIGH[shape.depth, shape.tokens], shape)
    assert max(abs(ours - theirs) for ours, theirs in zip(found, released, strict=True)) <= 8


@pytest.mark.parametrize("ratio", [0.0, -1.0, 1.5])
def test_a_ratio_that_is_no_share_is_refused(ratio):
    with pytest.raises(MethodError, match="expected more than 0, at most 1"):
        generated(VIT_B, ratio)


@pytest.mark.parametrize(
    ("given", "schedule"),
    [
        ({}, HIGH[12, 197]),
        ({"merge_rate": "low"}, LOW[12, 197]),
        ({"mac_ratio": 1.0}, (0,) * 12),
        ({"mac_ratio": 0.5}, LOW[12, 197]),
        ({"speed_up": 2.0}, LOW[12, 197]),
        ({"schedule": (100,) * 12}, (98, 49, 24, 12, 6, 3, 2, 1, 0, 0, 0, 0)),
        ({"r": 8}, (8,) * 12),
        ({"r": 16}, LOW[12, 197]),
        ({"r": 8, "inflection": -1.0}, (16, 14, 13, 11, 10, 8, 7, 5, 4, 2, 1, 0)),
        ({"r": 8, "inflection": 1.0}, (0, 1, 2, 4, 5, 7, 8, 10, 11, 13, 14, 16)),
    ],
)
def test_each_way_of_saying_how_much_becomes_one_list(given, schedule):
    assert settled(**given) == schedule


def test_a_rate_without_a_released_list_is_generated():
    nano = Shape(6, 65, 1, 96)
    assert settled(nano, merge_rate="low") == generated(nano, 0.50)
    assert settled(nano, merge_rate="high") == generated(nano, 0.29)


@pytest.mark.parametrize("given", [{}, {"merge_rate": "low"}, {"r": 30}, {"schedule": (50,) * 12}, {"speed_up": 3.0}])
def test_settling_keeps_what_was_written_and_settling_twice_changes_nothing(given):
    params = {**NOTHING, "preset": "paper", **given}
    once = settle(params, facts_of(VIT_B))
    assert {name: value for name, value in once.items() if name != "schedule"} == {
        name: value for name, value in params.items() if name != "schedule"
    }
    assert settle(once, facts_of(VIT_B)) == once


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"merge_rate": "low", "mac_ratio": 0.5}, "merge_rate=low and mac_ratio=0.5 are given"),
        ({"speed_up": 2.0, "r": 8}, "speed_up=2.0 and r=8 are given"),
        ({"merge_rate": "high", "schedule": (1,) * 12}, r"merge_rate=high and schedule=\(1, .*disagree"),
        ({"merge_rate": "low", "inflection": -1.0}, "inflection is given without r"),
        ({"merge_rate": "medium"}, "'medium'; expected one of low, high"),
        ({"speed_up": 0.5}, "speed_up is 0.5; expected 1"),
        ({"r": -1}, "r is -1"),
        ({"mac_ratio": 0.01}, r"0.01 cannot be reached: .* leaves 0.\d+ of the MACs"),
        ({"schedule": (1, 2)}, "2 entries; the backbone has 12 blocks"),
    ],
)
def test_what_cannot_be_settled_is_refused_with_the_reason(given, text):
    with pytest.raises(MethodError, match=text):
        settled(**given)


@pytest.mark.parametrize("shape", [Shape(0, 1, 0, 3072), Shape(12, 1, 1, 768)])
def test_a_backbone_without_blocks_of_patch_tokens_is_refused(shape):
    with pytest.raises(MethodError, match="a_vit has no blocks of patch tokens"):
        settled(shape)


def test_a_list_settled_for_another_image_size_is_told_from_the_right_one():
    planned = settle({**NOTHING, "merge_rate": "low"}, facts_of(VIT_B))
    with pytest.raises(MethodError, match="disagree"):
        settle(planned, replace(facts_of(VIT_B), image_size=384, tokens=577))
