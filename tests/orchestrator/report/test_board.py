"""What a leaderboard promises, whatever format it is written in."""

from __future__ import annotations

import csv
import io
import random
import statistics
from dataclasses import replace

import pytest

from orchestrator.report import csv as csv_format
from orchestrator.report.board import Place
from orchestrator.report.build import leaderboard
from storage.records import METRICS, BackboneRef, Phase, Recipe


def board_of(runs, places=None):
    return leaderboard([run.state for run in runs], places or {})


def rows_of(runs, places=None):
    (section,) = board_of(runs, places).sections
    return section.rows


def test_a_cell_is_mean_and_sample_std_over_seeds(toy):
    scores = (61.0, 64.5, 59.25)
    (row,) = rows_of([toy.Run(seed=seed, top1_pct=score) for seed, score in enumerate(scores)])
    (cell,) = row.cells
    assert cell.scores == ((0, 61.0), (1, 64.5), (2, 59.25))
    assert cell.mean == pytest.approx(statistics.mean(scores))
    assert cell.std == pytest.approx(statistics.stdev(scores))


def test_one_seed_has_no_std(toy):
    (row,) = rows_of([toy.Run(top1_pct=61.0)])
    assert (row.cells[0].mean, row.cells[0].std) == (61.0, None)


@pytest.mark.parametrize("missing", [None, "pending"])
def test_a_missing_seed_leaves_the_row_without_average_and_rank(toy, missing):
    whole = toy.row(toy.Run(stack="linear"), (10.0, 20.0, 30.0))
    holed = toy.row(toy.Run(), (90.0, 90.0, 90.0), broken={("toy/count", 1): missing})
    first, second = rows_of(whole + holed)
    assert (first.title, first.rank, first.mean_of_tasks) == ("linear", 1, 20.0)
    assert (second.title, second.rank, second.mean_of_tasks) == ("lora", None, None)
    assert (second.done, second.expected) == (5, 6)


def test_a_task_that_a_row_never_planned_leaves_it_without_average(toy):
    whole = toy.row(toy.Run(stack="linear"), (10.0, 20.0, 30.0))
    partial = [run for run in toy.row(toy.Run(), (90.0, 90.0, 90.0)) if run.dataset != "toy/count"]
    _, row = rows_of(whole + partial)
    assert (row.mean_of_tasks, row.rank, row.done, row.expected) == (None, None, 4, 6)


def test_both_averages_exist_where_there_are_groups_and_groups_rank(toy):
    uneven = toy.row(toy.Run(), (90.0, 90.0, 10.0))
    even = toy.row(toy.Run(stack="linear"), (60.0, 60.0, 60.0))
    (section,) = board_of(uneven + even, toy.places).sections
    assert section.groups == ("natural", "structured")
    first, second = section.rows
    assert (first.title, first.mean_of_tasks, first.mean_of_groups) == ("linear", 60.0, 60.0)
    assert (second.mean_of_tasks, second.mean_of_groups) == (pytest.approx(190 / 3), 50.0)
    assert second.group_means == (90.0, 10.0)
    assert section.averages == (("mean_of_tasks", "mean of 3 tasks"), ("mean_of_groups", "mean of 2 groups"))


def test_an_incomplete_group_has_no_mean_while_the_others_keep_theirs(toy):
    (row,) = rows_of(toy.row(toy.Run(), (90.0, 80.0, 10.0), broken={("toy/birds", 0): None}), toy.places)
    assert row.group_means == (None, 10.0)
    assert row.mean_of_groups is None


def test_a_suite_of_one_group_has_no_group_columns(toy):
    (section,) = board_of([toy.Run()], {"toy/digits": Place("toy", "toy")}).sections
    assert section.groups == ()


def test_equal_averages_share_a_rank_and_the_next_is_skipped(toy):
    runs = [toy.Run(params={"rank": rank}, top1_pct=top1) for rank, top1 in ((1, 70.0), (2, 80.0), (4, 80.0), (8, 9.0))]
    assert [row.rank for row in rows_of(runs)] == [1, 1, 3, 4]


def test_an_average_of_zero_is_an_average(toy):
    (row,) = rows_of([toy.Run(top1_pct=0.0)])
    assert (row.mean_of_tasks, row.rank) == (0.0, 1)


def test_only_final_and_evaluate_jobs_count(toy):
    uncounted = set(Phase) - {Phase.FINAL, Phase.EVALUATE}
    other = [toy.Run(phase=phase, top1_pct=99.0, seed=7) for phase in uncounted]
    board = board_of([toy.Run(top1_pct=50.0), *other])
    assert (board.done, board.expected, board.seeds) == (1, 1, (0,))


def test_a_score_that_is_not_a_number_is_missing(toy):
    (row,) = rows_of([toy.Run(top1_pct=float("nan"))])
    assert (row.done, row.expected, row.mean_of_tasks) == (0, 1, None)


def test_the_same_job_from_two_sweeps_counts_once(toy):
    states = [toy.Run().state, toy.Run(label="again").state, toy.Run(seed=1).state]
    board = leaderboard(states, {})
    assert (board.done, board.expected) == (2, 2)


def test_rows_of_one_label_are_told_apart_by_what_they_differ_in(toy):
    runs = [
        toy.Run(stack="gps", params={"k": 1, "level": "net"}, label="GPS", top1_pct=60.0),
        toy.Run(stack="gps", params={"k": 2, "level": "net"}, label="GPS", top1_pct=50.0),
    ]
    assert [row.title for row in rows_of(runs)] == ["GPS (k=1)", "GPS (k=2)"]


def test_parameters_of_a_stack_say_whose_they_are(toy):
    runs = [toy.Run(stack="lora+pyra", params={"rank": rank}, top1_pct=rank) for rank in (9, 8)]
    assert [row.title for row in rows_of(runs)] == [
        "lora+pyra (lora.rank=9, pyra.rank=9)",
        "lora+pyra (lora.rank=8, pyra.rank=8)",
    ]


def test_a_list_is_left_out_of_titles_that_a_shorter_value_tells_apart(toy):
    short = [{"merge_rate": "low", "schedule": [16, 10]}, {"merge_rate": "high", "schedule": [40, 34]}]
    runs = [toy.Run(stack="tome", params=params, top1_pct=60.0 - at) for at, params in enumerate(short)]
    assert [row.title for row in rows_of(runs)] == ["tome (merge_rate=low)", "tome (merge_rate=high)"]


def test_a_list_that_alone_tells_rows_apart_is_in_their_titles(toy):
    runs = [toy.Run(stack="tome", params={"schedule": [one, 0]}, top1_pct=60.0 - one) for one in (1, 2)]
    assert [row.title for row in rows_of(runs)] == ["tome (schedule=[1, 0])", "tome (schedule=[2, 0])"]


def test_what_a_merge_rate_removes_is_said_once_under_the_board(toy):
    high = {"merge_rate": "high", "schedule": [40, 34]}
    runs = [toy.Run(stack="tome", params=high, label="tome(high)", seed=seed) for seed in (0, 1)]
    (section,) = board_of([*runs, toy.Run(stack="linear")]).sections
    assert section.notes == ("tome(high): removes 40 34 tokens per block",)


def test_one_title_with_two_schedules_says_which_backbone_has_which(toy):
    runs = [
        toy.Run(stack="tome", params={"schedule": [1] * depth}, backbone=BackboneRef(name, "a" * 64))
        for name, depth in (("small", 2), ("other", 2), ("large", 3))
    ]
    (section,) = board_of(runs).sections
    assert {row.title for row in section.rows} == {"tome"}
    assert set(section.notes) == {
        "tome on other and small: removes 1 1 tokens per block",
        "tome on large: removes 1 1 1 tokens per block",
    }


def test_a_recipe_axis_makes_rows(toy):
    runs = [toy.Run(recipe=Recipe(lr=lr, image_size=32), top1_pct=50 + lr) for lr in (0.001, 0.0012345678)]
    assert {row.title for row in rows_of(runs)} == {"lora (train.lr=0.001)", "lora (train.lr=0.0012345678)"}


def test_a_recipe_that_varies_by_task_only_stays_one_row_and_is_shown(toy):
    runs = [
        toy.Run(dataset="toy/digits", recipe=Recipe(lr=0.001, image_size=32)),
        toy.Run(dataset="toy/birds", recipe=Recipe(lr=0.01, image_size=32)),
    ]
    (row,) = rows_of(runs)
    assert dict(row.recipe)["lr"] == (0.001, 0.01)
    assert row.mean_of_tasks == 50.0


def test_all_backbones_share_one_table(toy):
    pico = BackboneRef("pico_vit", "b" * 64, mean=(0.4, 0.4, 0.4), interpolation="bilinear")
    runs = [toy.Run(), toy.Run(backbone=pico), toy.Run(backbone=BackboneRef("raw_pixels", "none"))]
    (section,) = board_of(runs).sections
    assert [row.backbone.label for row in section.rows] == ["nano_vit", "pico_vit", "raw_pixels"]
    assert section.notes == ()


def test_a_row_on_forced_mean_and_std_says_so(toy):
    forced = BackboneRef("nano_vit", "a" * 64, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), forced=True)
    (alone,) = board_of([toy.Run(backbone=forced)]).sections
    assert [row.backbone.label for row in alone.rows] == ["nano_vit (mean/std forced)"]
    (beside,) = board_of([toy.Run(), toy.Run(backbone=forced)]).sections
    assert [row.backbone.label for row in beside.rows] == [
        "nano_vit (mean [0, 0, 0], std [1, 1, 1], mean/std forced)",
        "nano_vit (mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5])",
    ]
    told = "nano_vit is fed with mean [0, 0, 0], std [1, 1, 1], forced by the spec: not what the checkpoint was trained"
    assert [note.startswith(told) for note in (*alone.notes, *beside.notes)] == [True, False, True]


def test_one_backbone_name_with_two_weights_is_two_rows_and_a_note(toy):
    runs = [
        toy.Run(dataset="toy/digits", backbone=BackboneRef("nano_vit", "a" * 64)),
        toy.Run(dataset="toy/birds", backbone=BackboneRef("nano_vit", "b" * 64, mean=(0.0, 0.0, 0.0))),
    ]
    (section,) = board_of(runs).sections
    first, second = section.rows
    assert first.backbone.label == "nano_vit (weights_hash aaaaaaaa, mean [0.5, 0.5, 0.5])"
    assert second.backbone.label == "nano_vit (weights_hash bbbbbbbb, mean [0, 0, 0])"
    assert first.mean_of_tasks is None
    assert second.mean_of_tasks is None
    assert section.notes == ("nano_vit names 2 backbones: they differ in weights_hash, mean and are listed apart.",)


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"recipe": Recipe(image_size=32, epochs=20, precision="bf16")}, ("precision", ("bf16",))),
        ({"recipe": Recipe(image_size=32, epochs=20, resize="crop")}, ("resize", ("crop",))),
        ({"protocol": "paper"}, ("selection", ("paper",))),
    ],
)
def test_rows_of_different_protocols_are_never_ranked_together(toy, change, difference):
    changed = replace(toy.Run(top1_pct=60.0), **change)
    sections = board_of([toy.Run(top1_pct=50.0), changed]).sections
    assert [[row.rank for row in section.rows] for section in sections] == [[1], [1]]
    assert difference in [pair for section in sections for pair in section.differs]


def test_one_data_set_name_with_two_contents_is_two_columns(toy):
    runs = [toy.Run(data_hash="1" * 64), toy.Run(stack="linear", data_hash="2" * 64)]
    (section,) = board_of(runs).sections
    assert [task.title for task in section.tasks] == ["digits@11111111", "digits@22222222"]
    assert [row.mean_of_tasks for row in section.rows] == [None, None]


def test_suites_are_tables_of_their_own(toy):
    runs = [toy.Run(dataset="toy/digits", top1_pct=10.0), toy.Run(dataset="other/x", top1_pct=90.0)]
    first, second = board_of(runs, {"toy/digits": Place("toy")}).sections
    assert [(s.suite, s.rows[0].mean_of_tasks) for s in (first, second)] == [("toy", 10.0), ("other", 90.0)]


def test_the_order_of_results_leaves_no_trace(toy):
    states = [run.state for run in toy.golden_runs()]
    expected = leaderboard(states, toy.places)
    for seed in range(5):
        shuffled = random.Random(seed).sample(states, len(states))
        assert leaderboard(shuffled, toy.places) == expected


def test_without_costs_nothing_of_the_machine_is_left(toy):
    board = board_of([toy.Run()]).without_costs()
    assert not [name for name in board.metrics if METRICS[name].is_cost]
    assert (board.devices, board.versions) == ((), ())
    assert set(board.sections[0].rows[0].metric_means) == {"trainable_params", "head_params", "macs"}


def test_no_jobs_make_an_empty_board():
    board = leaderboard([], {})
    assert (board.sections, board.done, board.expected) == ((), 0, 0)


def test_a_board_of_a_part_of_a_suite_says_so(toy):
    part = [run for run in toy.row(toy.Run(), (90.0, 80.0, 70.0)) if run.dataset != "toy/count"]
    (section,) = board_of(part, toy.places).sections
    assert section.notes == ("2 of the 3 tasks of toy are shown: averages are of these alone.",)
    (section,) = board_of(toy.row(toy.Run(), (90.0, 80.0, 70.0)), toy.places).sections
    assert section.notes == ()


def by_task(toy, label="gps"):
    """One row of a sweep with another K on count, as a release's table gives it."""
    runs = toy.row(toy.Run(stack="gps", params={"connections_per_neuron": 1}, label=label), (50.0, 60.0, 70.0))
    more = {"params": {"connections_per_neuron": 2}}
    return [replace(run, **more) if run.dataset == "toy/count" else run for run in runs]


def test_a_sweep_s_row_with_other_hyper_parameters_on_one_task_is_one_row_that_says_so(toy):
    (section,) = leaderboard([run.state for run in by_task(toy)], {}, sweeps=["one"]).sections
    (row,) = section.rows
    assert (row.title, row.done, row.mean_of_tasks) == ("gps", 6, 60.0)
    assert "gps: connections_per_neuron is 1 on birds, digits, 2 on count" in section.notes
    lines = list(csv.DictReader(io.StringIO(csv_format.render(board_in_sweep(by_task(toy))))))
    found = {line["dataset"]: line["param.gps.connections_per_neuron"] for line in lines}
    assert found == {"toy/digits": "1", "toy/birds": "1", "toy/count": "2"}


def board_in_sweep(runs):
    return leaderboard([run.state for run in runs], {}, sweeps=["one"])


def test_across_sweeps_one_name_may_mean_two_things_and_stays_two_rows(toy):
    for sweeps in ((), ("one", "two")):
        (section,) = leaderboard([run.state for run in by_task(toy)], {}, sweeps=sweeps).sections
        assert [row.mean_of_tasks for row in section.rows] == [None, None]


def test_hyper_parameters_that_meet_on_a_task_are_rows_of_their_own(toy):
    both = toy.row(toy.Run(stack="gps", params={"connections_per_neuron": 2}, label="gps"), (1.0, 2.0, 3.0))
    (section,) = board_in_sweep([*by_task(toy), *both]).sections
    assert len(section.rows) > 1
