"""The board in every format, from a real SQLite store, against files that a person has read.

A changed output fails with a diff; if the change is meant, accept it with SWEEPBOARD_ACCEPT_GOLDEN=1.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
import random
import re
from pathlib import Path

import pytest

from orchestrator.report import csv as csv_format
from orchestrator.report import json_, md, term
from orchestrator.report.board import BOARD_METRICS
from orchestrator.report.build import leaderboard
from orchestrator.report.table import METRIC_TITLES, compact
from orchestrator.report.term import Screen
from storage.records import METRICS, SPEED_METRICS

GOLDEN = Path(__file__).parents[2] / "golden" / "reports"
FORMATS = {"txt": term.render, "md": md.render, "csv": csv_format.render, "json": json_.render}
ACCEPT = "SWEEPBOARD_ACCEPT_GOLDEN"


def board_from(store, toy):
    command = "sweepboard leaderboard golden"
    return leaderboard(store.jobs("golden"), toy.places, sweeps=["golden"], command=command)


def assert_golden(name, text):
    path = GOLDEN / name
    if os.environ.get(ACCEPT) == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    expected = path.read_bytes().decode() if path.exists() else ""
    if text != expected:
        diff = "\n".join(difflib.unified_diff(expected.splitlines(), text.splitlines(), name, "now", lineterm=""))
        pytest.fail(f"{diff}\n\nif this is meant: {ACCEPT}=1 python -m pytest {Path(__file__).name}", pytrace=False)


@pytest.mark.parametrize("costs", [True, False], ids=["costs", "no-costs"])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_reads_as_accepted(toy, filled_store, kind, costs):
    board = board_from(filled_store(toy.golden_runs()), toy)
    text = FORMATS[kind](board if costs else board.without_costs())
    assert_golden(f"board{'' if costs else '-no-costs'}.{kind}", text)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_order_in_which_results_came_in_leaves_no_trace(toy, filled_store, kind):
    runs = toy.golden_runs()
    first = FORMATS[kind](board_from(filled_store(runs), toy))
    second = FORMATS[kind](board_from(filled_store(random.Random(3).sample(runs, len(runs))), toy))
    assert first == second


@pytest.mark.parametrize("kind", FORMATS)
def test_without_costs_no_cost_and_no_machine_is_written(toy, kind):
    board = leaderboard([run.state for run in toy.golden_runs()], toy.places, sweeps=["golden"])
    text = FORMATS[kind](board.without_costs())
    hidden = [*(name for name in METRICS if METRICS[name].is_cost), *toy.facts.values(), "12.5", "321.5"]
    assert [word for word in hidden if re.search(rf"\b{re.escape(word)}\b", text)] == []


def test_every_board_metric_has_a_title():
    assert set(METRIC_TITLES) == set(BOARD_METRICS)


def test_three_tasks_fit_into_a_hundred_columns(toy):
    text = term.render(leaderboard([run.state for run in toy.golden_runs()], {}))
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "Not shown" not in text
    header = next(line for line in text.splitlines() if line.startswith("# method"))
    assert header.split() == [
        *("#", "method", "backbone", "birds", "count", "digits", "3", "tasks"),
        *("params", "head", "MACs", "wall_s", "done"),
    ]


def test_a_narrow_terminal_says_what_it_leaves_out(toy):
    board = leaderboard([run.state for run in toy.golden_runs()], toy.places)
    text = term.render(board, Screen(width=60))
    assert max(len(line) for line in text.splitlines()) <= 60
    assert "Not shown for want of width: tasks, parameters and costs" in " ".join(text.split())


def test_plain_text_has_no_escape_sequence_and_styled_text_has_bold_ones(toy):
    board = leaderboard([run.state for run in toy.golden_runs()], toy.places)
    assert "\x1b" not in term.render(board)
    assert "\x1b[1m" in term.render(board, Screen(styled=True))


@pytest.mark.parametrize("kind", ["txt", "md"])
def test_a_label_cannot_smuggle_in_lines_or_escape_sequences(toy, kind):
    plain = FORMATS[kind](leaderboard([toy.Run(label="a b").state], {}))
    wicked = FORMATS[kind](leaderboard([toy.Run(label="a\n\x1b[31m\tb").state], {}))
    assert "\x1b" not in wicked
    assert len(wicked.splitlines()) == len(plain.splitlines())


def test_markdown_keeps_its_columns_whatever_the_label(toy):
    text = md.render(leaderboard([toy.Run(label=r"a | b \| c <i> *d*").state, toy.Run(seed=1).state], {}))
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\\", "").replace(r"\|", "").count("|") for line in table}) == 1
    assert r"a \| b \\\| c \<i> \*d\*" in text


def test_brackets_in_a_label_are_shown_as_they_are(toy):
    assert "[red]gps[/red]" in term.render(leaderboard([toy.Run(label="[red]gps[/red]").state], {}))


def test_csv_has_a_line_for_every_job_and_gives_labels_back(toy):
    label = 'a, "b"\nc'
    runs = toy.row(toy.Run(label=label), (1.5, 2.5, 3.5), broken={("toy/birds", 0): None})
    lines = list(csv.DictReader(io.StringIO(csv_format.render(leaderboard([run.state for run in runs], toy.places)))))
    assert [line["row"] for line in lines] == [label] * 6
    assert {(line["dataset"], line["seed"], line["test_top1_pct"]) for line in lines} == {
        ("toy/digits", "0", "0.75"),
        ("toy/digits", "1", "2.25"),
        ("toy/birds", "0", ""),
        ("toy/birds", "1", "3.25"),
        ("toy/count", "0", "2.75"),
        ("toy/count", "1", "4.25"),
    }
    assert [line["status"] for line in lines].count("failed") == 1


def test_csv_carries_parameters_protocol_and_costs(toy):
    run = toy.Run(params={"rank": 8, "targets": ["qkv", "proj"]})
    (line,) = csv.DictReader(io.StringIO(csv_format.render(leaderboard([run.state], toy.places))))
    assert (line["param.lora.rank"], json.loads(line["param.lora.targets"])) == ("8", ["qkv", "proj"])
    assert (line["job_id"], line["protocol_id"]) == (run.job.job_id, run.job.protocol_id)
    assert (line["train_split"], line["recipe.precision"], line["wall_s"]) == ("train800val200", "fp32", "12.5")
    costs = [name for name in METRICS if METRICS[name].is_cost and name not in SPEED_METRICS]
    assert list(line)[-6:] == costs


def test_json_is_unrounded_and_versioned(toy):
    score = 61.0 + 1 / 3
    document = json.loads(json_.render(leaderboard([toy.Run(top1_pct=score).state], {})))
    assert (document["format"], document["version"]) == ("sweepboard-leaderboard", 1)
    assert document["sections"][0]["rows"][0]["cells"][0]["scores"] == {"0": score}


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (768, "768"), (999.9996, "1000"), (27840, "27.84k"), (45.3e6, "45.3M"), (17.58e9, "17.58G")],
)
def test_large_numbers_are_shortened(value, text):
    assert compact(value) == text
