"""Plans: hyper-parameters that depend on the backbone are numbers in the job and short names on the row."""

from typing import Any

import pytest

from methods.token_schedule import HIGH, LOW
from orchestrator.plan import Plan, plan
from orchestrator.spec import parse_spec
from orchestrator.spec_problems import SpecError
from orchestrator.testing import shipped_catalogue


def planned(methods: str, more: str = "", backbones: str = "[vit_tiny_patch16_224]") -> Plan:
    text = f"name: x\ndatasets: [embedded/digits]\nbackbones: {backbones}\nmethods: {methods}\n{more}\n"
    return plan(parse_spec(text), shipped_catalogue())


def params(made: Plan, method: str = "tome") -> list[dict[str, Any]]:
    return [call.kwargs for entry in made.entries for call in entry.job.methods if call.name == method]


def test_the_job_carries_the_list_that_a_merge_rate_stands_for() -> None:
    found = params(planned("[{tome: {merge_rate: [low, high]}}]"))
    assert [(one["merge_rate"], one["schedule"]) for one in found] == [("low", LOW[12, 197]), ("high", HIGH[12, 197])]


def test_rows_are_named_by_what_the_spec_says_not_by_the_list() -> None:
    made = planned("[[{lora: {rank: 4}}, {pyra: {merge_rate: [low, high]}}], tome]")
    assert {entry.row for entry in made.entries} == {"lora+pyra(merge_rate=low)", "lora+pyra(merge_rate=high)", "tome"}


def test_backbones_of_different_depth_have_their_own_list_in_one_row() -> None:
    made = planned("[tome]", backbones="[nano_vit, vit_tiny_patch16_224, vit_large_patch16_224]")
    assert {entry.row for entry in made.entries} == {"tome"}
    assert [len(one["schedule"]) for one in params(made)] == [6, 12, 24]


def test_the_list_follows_the_image_size() -> None:
    made = planned("[{tome: {merge_rate: low}}]", "train: {image_size: [224, 384]}")
    small, large = (one["schedule"] for one in params(made))
    assert small == LOW[12, 197]
    assert sum(large) == pytest.approx(576 * 0.95, rel=0.06)


def test_overrides_are_settled_too() -> None:
    made = planned("[tome]", "overrides: [{match: {}, set: {tome.merge_rate: low}}]")
    assert params(made)[0]["schedule"] == LOW[12, 197]


def test_a_list_that_the_user_gives_is_clamped_and_tells_rows_apart_where_nothing_else_does() -> None:
    zeros = ",".join("0" * 11)
    made = planned(f"[{{tome: {{schedule: {{axis: [[150,{zeros}], [9,{zeros}]]}}}}}}]")
    assert [one["schedule"][0] for one in params(made)] == [98, 9]
    assert [entry.row for entry in made.entries][1] == f"tome(schedule=[9,{zeros}])"


@pytest.mark.parametrize(
    ("methods", "reason"),
    [
        ("[linear, {tome: {merge_rate: low, r: 8}}]", "'tome': merge_rate=low and r=8 are given"),
        ("[linear, {tome: {schedule: [1, 2]}}]", "schedule has 2 entries; the backbone has 12 blocks"),
        ("[linear, {tome: {mac_ratio: 0.05}}]", "a MAC ratio of 0.05 cannot be reached"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason_and_the_rest_is_planned(methods: str, reason: str) -> None:
    made = planned(methods)
    (refused,) = made.refused
    assert reason in refused.reason
    assert [entry.row for entry in made.entries if entry.job.makes is None] == ["linear"]


def test_an_image_size_that_patches_do_not_cover_is_refused_for_every_method() -> None:
    made = planned("[linear, tome]", "train: {image_size: [224, 230]}")
    assert {one.reason for one in made.refused} == {
        "image_size 230 is no multiple of the patch size 16 of vit_tiny_patch16_224; use 224 or 240"
    }
    assert {entry.job.recipe.image_size for entry in made.entries} == {224}


def test_a_backbone_without_tokens_is_refused_when_nothing_else_is_left() -> None:
    with pytest.raises(SpecError, match="tome on raw_pixels is refused"):
        planned("[tome]", backbones="[raw_pixels]")


def test_planning_does_not_write_the_list_where_the_method_has_none() -> None:
    (job,) = (entry.job for entry in planned("[lora]").entries)
    assert "schedule" not in job.methods[0].kwargs
