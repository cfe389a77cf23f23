"""Boards of evaluate jobs: their own sections, which say what the models were trained on."""

from __future__ import annotations

import csv as csv_reader
import io
import json
from dataclasses import replace

import pytest

from orchestrator.commands.leaderboard import _places
from orchestrator.report import csv, json_, md
from orchestrator.report.board import Leaderboard
from orchestrator.report.build import leaderboard
from orchestrator.report.footer import section_title
from storage.records import DatasetRef, Phase
from storage.store import JobState

SETS = ("robustness/imagenet_a", "robustness/imagenet_r", "robustness/imagenet_c")


def child(parent, name: str, top1_pct: float, mce_pct: float | None = None) -> JobState:
    """The finished evaluate job of a run."""
    job = replace(
        parent.job,
        phase=Phase.EVALUATE,
        dataset=DatasetRef(name, "e" * 64, 3),
        parent=parent.job.job_id,
        trained_on=parent.job.dataset,
        class_map=(0, 1, 2),
    )
    metrics = {**parent.result.metrics, "test_top1_pct": top1_pct}
    metrics |= {} if mce_pct is None else {"test_mce_pct": mce_pct}
    return JobState(
        job, parent.state.status, 1, parent.label, replace(parent.result, job_id=job.job_id, metrics=metrics)
    )


@pytest.fixture
def board(toy) -> Leaderboard:
    states = []
    for stack, scores in {"linear": (10.0, 20.0, 30.0), "lora": (20.0, 30.0, 40.0)}.items():
        for seed in (0, 1):
            parent = toy.Run(stack=stack, dataset="general/imagenet1k", seed=seed, top1_pct=80.0)
            mces = (None, None, 60.0 + seed)
            states += [parent.state, *(child(parent, *one) for one in zip(SETS, scores, mces, strict=True))]
    return leaderboard(states, _places(state.job.dataset.name for state in states))


def test_evaluations_are_cells_of_one_row_in_the_section_of_their_suite(board: Leaderboard) -> None:
    general, robustness = board.sections
    assert (general.suite, general.protocol.trained_on) == ("general", "")
    assert (robustness.suite, robustness.protocol.trained_on) == ("robustness", "general/imagenet1k@dddddddd")
    assert [task.dataset for task in robustness.tasks] == list(SETS)
    assert [(row.title, row.mean_of_tasks) for row in robustness.rows] == [("lora", 30.0), ("linear", 20.0)]
    assert [row.metric_means["test_mce_pct"] for row in robustness.rows] == [60.5, 60.5]


def test_the_table_says_what_the_models_were_trained_on(board: Leaderboard) -> None:
    text = md.render(board)
    assert "Trained on general/imagenet1k@dddddddd" in text
    assert "mCE %" in text
    assert "mean corruption error" in text


def test_csv_and_json_name_training_set_and_parent(board: Leaderboard) -> None:
    lines = list(csv_reader.DictReader(io.StringIO(csv.render(board))))
    by_phase = [line for line in lines if line["dataset"] == "robustness/imagenet_c" and line["seed"] == "1"]
    assert {line["trained_on"] for line in by_phase} == {"general/imagenet1k"}
    assert {line["test_mce_pct"] for line in by_phase} == {"61"}
    finals = {line["job_id"] for line in lines if line["dataset"] == "general/imagenet1k"}
    assert {line["parent"] for line in lines} - {""} == finals
    sections = json.loads(json_.render(board))["sections"]
    assert [one["protocol"].get("trained_on") for one in sections] == [None, "general/imagenet1k@dddddddd"]


def test_a_board_without_evaluations_has_no_columns_of_them(toy) -> None:
    board = leaderboard([toy.Run().state], {})
    header = csv.render(board).splitlines()[0].split(",")
    assert not {"trained_on", "parent", "test_mce_pct"} & set(header)
    assert "mCE" not in md.render(board)


def test_models_of_two_training_sets_are_never_ranked_together(toy) -> None:
    parents = [toy.Run(dataset=name, top1_pct=80.0) for name in ("toy/digits", "toy/birds")]
    board = leaderboard([child(parent, "toy/count", 50.0) for parent in parents], toy.places)
    assert len(board.sections) == 2
    assert all(len(section.rows) == 1 for section in board.sections)
    assert "Not comparable with the other tables of toy: trained_on is" in md.render(board)


def test_a_final_result_on_a_set_and_an_evaluation_on_it_stand_apart(toy) -> None:
    trained = toy.Run(dataset="toy/count", top1_pct=90.0)
    board = leaderboard([trained.state, child(toy.Run(), "toy/count", 50.0)], toy.places)
    assert [section.protocol.trained_on for section in board.sections] == ["", "toy/digits@dddddddd"]
    assert "each task's own training images here" in md.render(board)


def test_few_shot_subsets_are_a_suite_per_number_of_shots(toy) -> None:
    names = ("fgvc/cub200", "fgvc/cub200@5shot", "fgvc/nabirds@5shot", "fgvc/cub200@5shot.1", "embedded/digits@1shot")
    runs = [toy.Run(dataset=name) for name in names]
    board = leaderboard([run.state for run in runs], _places(names))
    tasks = {section.suite: [task.title for task in section.tasks] for section in board.sections}
    assert tasks == {
        "embedded@1shot": ["digits@1shot"],
        "fgvc": ["cub200"],
        "fgvc@5shot": ["cub200@5shot", "cub200@5shot.1", "nabirds@5shot"],
    }
    (notes,) = (section.notes for section in board.sections if section.suite == "fgvc@5shot")
    assert any("3 of the 10 tasks of fgvc@5shot" in note for note in notes)


def test_a_rate_off_the_shelf_is_ranked_with_the_trained_rows_and_never_averaged_with_them(toy) -> None:
    trained = toy.Run(stack="lora+tome", top1_pct=70.0)
    parent = toy.Run(stack="lora", top1_pct=80.0)
    later = child(parent, parent.dataset, 60.0)
    job = replace(later.job, dataset=parent.job.dataset, methods=trained.job.methods, class_map=tuple(range(10)))
    state = replace(later, job=job, row="lora+tome(off_the_shelf)")
    (section,) = leaderboard([trained.state, parent.state, state], {}).sections
    assert [(row.title, row.mean_of_tasks) for row in section.rows] == [
        ("lora", 80.0),
        ("lora+tome", 70.0),
        ("lora+tome(off_the_shelf)", 60.0),
    ]


def test_titles_say_what_was_trained_on_in_the_words_of_the_suite(toy) -> None:
    names = ("fgvc/cub200", "fgvc/cub200@5shot", "vtab1k/dtd", "embedded/digits@1shot")
    board = leaderboard([toy.Run(dataset=name).state for name in names], _places(names))
    said = {section.suite: section_title(section) for section in board.sections}
    assert "train+val -> test" in said["fgvc"]
    assert "train800val200 -> test" in said["vtab1k"]
    assert "the shots alone -> test" in said["fgvc@5shot"]
    assert "the shots alone -> test" in said["embedded@1shot"]
