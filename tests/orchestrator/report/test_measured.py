"""Speed and memory on the board: from measure jobs only, with device, precision and batch named."""

import argparse
import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.commands import leaderboard as command
from orchestrator.report import csv as csv_format
from orchestrator.report import json_, md, term
from orchestrator.report.build import leaderboard
from orchestrator.report.measured import SPEED_COLUMNS
from storage.records import SPEED_METRICS, DatasetRef, Phase, Result, Status
from storage.store import JobState

GOLDEN = Path(__file__).parents[2] / "golden" / "reports"
FORMATS = {"txt": term.render, "md": md.render, "csv": csv_format.render, "json": json_.render}
ACCEPT = "SWEEPBOARD_ACCEPT_GOLDEN"


def measured(run, speed=100.0, *, device="cpu", name="Test CPU", batch_size=32):
    """The measure job of a run's row, done."""
    job = replace(
        run.job,
        phase=Phase.MEASURE,
        dataset=DatasetRef("synthetic/noise", "none", 100),
        train_split="",
        score_split="",
        recipe=run.recipe.of_cost(batch_size),
        seed=0,
        protocol="honest",
        device=device,
    )
    metrics = {metric: speed + at for at, metric in enumerate(SPEED_METRICS)}
    metrics |= {metric: 2.5 for metric in SPEED_METRICS if metric.endswith("_pct")}
    facts = {"device": name, "threads": "1"}
    result = Result(job_id=job.job_id, status=Status.DONE, metrics=metrics, facts=facts)
    return JobState(job, Status.DONE, 1, run.label, result)


def board_of(runs, measurements, places=None):
    return leaderboard([*(run.state for run in runs), *measurements], places or {}, sweeps=["golden"])


@pytest.fixture
def golden(toy):
    """Two rows that were measured and one that was not, on two seeds and three tasks."""
    lora, linear = toy.Run(params={"rank": 8}), toy.Run(stack="linear", seed=0)
    runs = [
        *toy.row(lora, (71.5, 63.75, 55.125)),
        *toy.row(linear, (40.0, 52.25, 31.0)),
        *toy.row(toy.Run(stack="full"), (80.0, 81.0, 82.0)),
    ]
    return board_of(runs, [measured(lora, 1234.5), measured(linear, 2345.25)], toy.places)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_shows_them_as_accepted(golden, kind):
    path, text = GOLDEN / f"measured.{kind}", FORMATS[kind](golden)
    if os.environ.get(ACCEPT) == "1":
        path.write_text(text, encoding="utf-8", newline="")
    assert text == path.read_text(encoding="utf-8"), f"if this is meant: {ACCEPT}=1"


@pytest.mark.parametrize("kind", FORMATS)
def test_without_costs_they_are_gone(golden, toy, kind):
    text = FORMATS[kind](golden.without_costs())
    assert not [title for title in (*SPEED_COLUMNS.values(), *SPEED_METRICS, "Test CPU", "measured") if title in text]


@pytest.mark.parametrize("kind", FORMATS)
def test_where_nothing_was_measured_there_are_no_columns(toy, kind):
    text = FORMATS[kind](board_of([toy.Run()], []))
    assert not [title for title in (*SPEED_COLUMNS.values(), *SPEED_METRICS, "Speed and memory") if title in text]


def test_metrics_of_other_jobs_never_count_as_speed(toy):
    run = toy.Run()
    state = run.state
    fast = replace(state, result=replace(state.result, metrics={**state.result.metrics, "train_img_per_s": 9e9}))
    (section,) = leaderboard([fast], {}).sections
    assert section.rows[0].measured is None


def test_one_measurement_serves_all_data_sets_and_seeds_of_its_row_only(toy):
    lora, other = toy.Run(params={"rank": 8}), toy.Run(params={"rank": 4})
    runs = [*toy.row(lora, (1.0, 2.0, 3.0)), *toy.row(other, (4.0, 5.0, 6.0))]
    (section,) = board_of(runs, [measured(lora)]).sections
    assert {row.title: row.measured is not None for row in section.rows} == {
        "lora (rank=8)": True,
        "lora (rank=4)": False,
    }


def test_a_batch_of_the_rows_own_comes_first_and_then_a_gpu(toy):
    run = toy.Run()
    large = measured(run, 5.0, device="cuda", name="GPU", batch_size=512)
    own = measured(run, 1.0)
    assert board_of([run], [large, own]).sections[0].rows[0].measured.setting.batch_size == 32
    gpu = measured(run, 3.0, device="cuda", name="GPU")
    assert board_of([run], [own, gpu]).sections[0].rows[0].measured.setting.device == "GPU"
    assert board_of([run], [large]).sections[0].rows[0].measured.setting.batch_size == 512


def test_rows_measured_on_different_devices_are_named_apart_and_none_is_best(toy):
    lora, linear = toy.Run(), toy.Run(stack="linear")
    board = board_of([lora, linear], [measured(lora, 1.0), measured(linear, 900.0, name="Other CPU")])
    text = " ".join(md.render(board).split())
    assert "compare only within" in text
    assert "Test CPU, 1 thread, fp32, batch 32: lora" in text
    assert "Other CPU, 1 thread, fp32, batch 32: linear" in text
    assert "**900**" not in text


def test_another_precision_or_optimizer_is_another_measurement(toy):
    run = toy.Run()
    for change in ({"precision": "bf16"}, {"optimizer": "sgd"}):
        other = replace(run, recipe=replace(run.recipe, **change))
        assert board_of([run], [measured(other)]).sections[0].rows[0].measured is None


def test_csv_repeats_them_on_each_line_of_the_row_and_json_says_where(golden):
    lines = list(csv.DictReader(io.StringIO(csv_format.render(golden))))
    lora = [line for line in lines if line["stack"] == "lora"]
    assert {(line["train_img_per_s"], line["measured_device"]) for line in lora} == {("1234.5", "Test CPU")}
    assert {line["train_img_per_s"] for line in lines if line["stack"] == "full"} == {""}
    rows = json.loads(json_.render(golden))["sections"][0]["rows"]
    assert {row["row"]: row.get("measured", {}).get("precision") for row in rows} == {
        "full": None,
        "lora": "fp32",
        "linear": "fp32",
    }


def test_the_command_shows_what_was_measured(toy, filled_home, capsys):
    """The measure job of the sweep reaches the board that its user asks for."""
    run = toy.Run(dataset="embedded/digits")
    state = measured(run, 1234.5)
    job = SimpleNamespace(job=state.job, label=run.label, top1_pct=0.0, result=state.result)
    home = filled_home([run, job])
    top = argparse.ArgumentParser()
    command.register(top.add_subparsers())
    args = top.parse_args(["leaderboard", "--home", str(home), "--format", "md"])
    assert args.run(args) == 0
    text = capsys.readouterr().out
    assert next(iter(SPEED_COLUMNS.values())) in text
    assert "Test CPU" in text
