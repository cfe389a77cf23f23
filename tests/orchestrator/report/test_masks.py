"""Boards of data with masks: ranked by Dice, never averaged with accuracies."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.report import csv as csv_format
from orchestrator.report import json_, md, term
from orchestrator.report.board import Leaderboard, Place
from orchestrator.report.build import leaderboard
from storage.records import SEGMENTATION, BackboneRef, DatasetRef, Job, MethodCall, Phase, Recipe, Result, Status
from storage.store import JobState

PLACES = {"local/digits": Place("local", "local"), "local/nuclei": Place("local", "local")}


def state(stack: str, dataset: str, metrics: dict[str, float]) -> JobState:
    task = {"task": SEGMENTATION} if dataset == "nuclei" else {}
    job = Job(
        phase=Phase.FINAL,
        methods=(MethodCall(stack, 1),),
        backbone=BackboneRef("nano_vit", "a" * 64),
        dataset=DatasetRef(f"local/{dataset}", "d" * 64, 1, **task),
        train_split="train800val200",
        score_split="test",
        recipe=Recipe(image_size=32),
        seed=0,
        trainer_revision=1,
    )
    result = Result(job_id=job.job_id, status=Status.DONE, metrics=metrics)
    return JobState(job=job, status=Status.DONE, attempts=1, result=result, row=stack)


def masks(stack: str, dice_pct: float, released_pct: float) -> JobState:
    return state(stack, "nuclei", {"test_dice_pct": dice_pct, "test_dice_release_pct": released_pct})


def board_of(states: Sequence[JobState]) -> Leaderboard:
    return leaderboard(states, PLACES)


BOTH = [
    masks("gps", 81.25, 90.0),
    masks("linear", 70.5, 99.0),
    state("gps", "digits", {"test_top1_pct": 60.0}),
    state("linear", "digits", {"test_top1_pct": 50.0}),
]


def test_masks_are_ranked_by_dice_and_not_by_the_released_metric():
    (section,) = board_of(BOTH[:2]).sections
    assert [(row.stack, row.rank, row.cells[0].mean) for row in section.rows] == [
        ("gps", 1, 81.25),
        ("linear", 2, 70.5),
    ]


def test_masks_and_classes_of_one_suite_are_tables_of_their_own():
    sections = board_of(BOTH).sections
    assert [(section.suite, section.task, [task.title for task in section.tasks]) for section in sections] == [
        ("local", "classification", ["digits"]),
        ("local", SEGMENTATION, ["nuclei"]),
    ]
    assert [section.rows[0].mean_of_tasks for section in sections] == [60.0, 81.25]
    assert not any(section.differs for section in sections)


def test_the_title_says_what_the_cells_are():
    board = board_of(BOTH)
    for text in (term.render(board, term.Screen(200)), md.render(board)):
        assert "local: test Dice (%)" in text
        assert "local: test top-1 (%)" in text
        assert text.count("an image without foreground in both has 100") == 1


def test_csv_has_columns_of_masks_only_where_there_are_masks():
    rows = list(csv.DictReader(io.StringIO(csv_format.render(board_of(BOTH)))))
    assert {row["dataset"]: row["test_dice_pct"] for row in rows if row["stack"] == "gps"} == {
        "local/digits": "",
        "local/nuclei": "81.25",
    }
    plain = csv_format.render(board_of(BOTH[2:]))
    assert "dice" not in plain


def test_json_names_the_score_of_masks():
    sections = json.loads(json_.render(board_of(BOTH)))["sections"]
    assert [section.get("score") for section in sections] == [None, "test_dice_pct"]


def test_a_job_without_dice_is_told_so():
    broken = board_of([replace(BOTH[0], result=replace(BOTH[0].result, metrics={"test_top1_pct": 1.0}))])
    assert "1 done without test_dice_pct" in term.render(broken)


def test_speed_of_a_mask_decoder_is_not_shown_beside_a_classifier():
    def measured(final: JobState, img_per_s: float) -> JobState:
        job = replace(final.job, phase=Phase.MEASURE, recipe=final.job.recipe.of_cost(32), device="cpu")
        result = Result(job_id=job.job_id, status=Status.DONE, metrics={"train_img_per_s": img_per_s})
        return replace(final, job=job, result=result)

    board = board_of([*BOTH, measured(BOTH[0], 10.0), measured(BOTH[2], 99.0)])
    speeds = {
        section.task: next(row.measured.metrics["train_img_per_s"] for row in section.rows if row.measured)
        for section in board.sections
    }
    assert speeds == {"classification": 99.0, SEGMENTATION: 10.0}
