"""`sweepboard leaderboard` as its user meets it."""

from __future__ import annotations

import argparse
import json
import os
import pty
import subprocess
import sys

import pytest

from orchestrator.commands import leaderboard
from orchestrator.errors import UsageError
from workers.data.catalogue import expand


def main(words):
    """What `sweepboard` does with these words, its errors not yet turned into exit codes."""
    top = argparse.ArgumentParser()
    leaderboard.register(top.add_subparsers())
    args = top.parse_args(words)
    return args.run(args)


def run_of(toy, **changes):
    return toy.Run(**{"dataset": "embedded/digits", **changes})


def test_the_latest_sweep_is_the_default_and_only_data_goes_to_stdout(toy, filled_home, capsys):
    filled_home([run_of(toy)], "older")
    home = filled_home([run_of(toy, label="newer row")], "newer")
    assert main(["leaderboard", "--home", str(home), "--format", "json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["sweeps"] == ["newer"]
    assert str(home) in captured.err


def test_several_sweeps_make_one_board(toy, filled_home, capsys):
    filled_home([run_of(toy)], "one")
    home = filled_home([run_of(toy, seed=1)], "two")
    assert main(["leaderboard", "one", "two", "--home", str(home), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [row["seeds"] for row in document["sections"][0]["rows"]] == [[0, 1]]


def test_an_unknown_sweep_is_answered_with_the_nearest_name(toy, filled_home, capsys):
    home = filled_home([run_of(toy)], "gps-vs-pyra")
    with pytest.raises(UsageError, match="gps-vs-pyra"):
        main(["leaderboard", "gps-vs-pyro", "--home", str(home)])
    assert capsys.readouterr().out == ""


def test_an_unknown_suite_is_answered_with_the_nearest_name(toy, filled_home):
    home = filled_home([run_of(toy)])
    with pytest.raises(UsageError, match="Did you mean 'embedded'"):
        main(["leaderboard", "--suite", "embeded", "--home", str(home)])


def test_suite_shows_that_suite_alone(toy, filled_home, capsys):
    home = filled_home([run_of(toy), run_of(toy, dataset="local/mine")])
    assert main(["leaderboard", "--suite", "local", "--home", str(home), "--format", "json"]) == 0
    assert [section["suite"] for section in json.loads(capsys.readouterr().out)["sections"]] == ["local"]


def test_nothing_done_says_why_and_exits_4(toy, filled_home, capsys):
    home = filled_home([run_of(toy, top1_pct="pending"), run_of(toy, seed=1, top1_pct=None)])
    assert main(["leaderboard", "--home", str(home)]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "0 of 2 jobs done (1 pending, 1 failed)" in captured.err


def test_a_store_without_sweeps_exits_4(tmp_path, capsys):
    assert main(["leaderboard", "--home", str(tmp_path / "new")]) == 4
    assert "holds no sweep yet" in capsys.readouterr().err


def test_an_incomplete_board_is_shown_and_says_what_is_missing(toy, filled_home, capsys):
    home = filled_home([run_of(toy), run_of(toy, seed=1, top1_pct=None)])
    assert main(["leaderboard", "--home", str(home)]) == 0
    captured = capsys.readouterr()
    assert "lora" in captured.out
    assert "incomplete: 1 of 2 jobs done (1 failed)" in captured.err


def test_out_replaces_the_file_whole_and_keeps_stdout_empty(toy, filled_home, tmp_path, capsys):
    home = filled_home([run_of(toy)])
    target = tmp_path / "made" / "board.md"
    for _ in range(2):
        assert main(["leaderboard", "--home", str(home), "--format", "md", "--out", str(target)]) == 0
    assert target.read_text(encoding="utf-8").startswith("# Leaderboard: golden\n")
    assert [path.name for path in target.parent.iterdir()] == ["board.md"]
    assert capsys.readouterr().out == ""


def test_out_into_a_file_that_is_a_folder_is_a_usage_error(toy, filled_home, tmp_path):
    home = filled_home([run_of(toy)])
    with pytest.raises(UsageError, match="--out: cannot write"):
        main(["leaderboard", "--home", str(home), "--out", str(tmp_path)])


@pytest.mark.parametrize("kind", ["term", "md", "csv", "json"])
def test_no_costs_hides_devices_and_times(toy, filled_home, capsys, kind):
    home = filled_home([run_of(toy)])
    assert main(["leaderboard", "--home", str(home), "--format", kind, "--no-costs"]) == 0
    text = capsys.readouterr().out
    assert [word for word in ("Test CPU", "9.9.9", "wall_s", "12.5") if word in text] == []


def test_the_footer_says_how_to_make_the_board_again(toy, filled_home, capsys):
    home = filled_home([run_of(toy)], "my sweep")
    assert main(["leaderboard", "--home", str(home), "--format", "md", "--no-costs"]) == 0
    assert "sweepboard leaderboard 'my sweep' --format md --no-costs" in capsys.readouterr().out


@pytest.mark.parametrize(("environment", "is_styled"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_bold_unless_no_color_is_set(toy, filled_home, environment, is_styled):
    home = filled_home([run_of(toy)])
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "orchestrator.cli", "leaderboard", "--home", str(home)]
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    subprocess.run(command, stdout=theirs, stderr=subprocess.DEVNULL, env=plain | environment, check=True)
    os.close(theirs)
    assert (b"\x1b[1m" in os.read(ours, 100_000)) is is_styled
    os.close(ours)


def test_the_command_loads_no_heavy_package():
    code = (
        "import sys, orchestrator.commands.leaderboard\n"
        "print([name for name in ('torch', 'timm', 'ray', 'mlflow', 'optuna') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_benchmark_has_both_averages_with_or_without_its_images(toy, filled_home, monkeypatch, capsys):
    """19 tasks with the top-1 of their group: the mean of tasks weighs groups by size, the mean of groups does not."""
    monkeypatch.delenv("SWEEPBOARD_DATA", raising=False)
    of_group = {"natural": 80.0, "specialized": 70.0, "structured": 30.0}
    runs = [
        run_of(toy, dataset=dataset, data_hash=f"{number:064x}", top1_pct=top1_pct)
        for group, top1_pct in of_group.items()
        for number, dataset in enumerate(expand(f"@vtab1k/{group}"))
    ]
    home = filled_home(runs)
    words = ["leaderboard", "--suite", "vtab1k", "--home", str(home), "--no-costs", "--format"]
    assert main([*words, "json"]) == 0
    (section,) = json.loads(capsys.readouterr().out)["sections"]
    (row,) = section["rows"]
    assert section["groups"] == list(of_group)
    assert row["mean_of_tasks"] == pytest.approx((7 * 80 + 4 * 70 + 8 * 30) / 19)
    assert row["mean_of_groups"] == pytest.approx(60.0)
    assert section["notes"] == []
    assert main([*words, "md"]) == 0
    board = capsys.readouterr().out
    assert [name for name in ("mean of 19 tasks", "mean of 3 groups", "56.84", "60.00") if name not in board] == []
    assert board.index("cifar100") < board.index("patch_camelyon") < board.index("smallnorb_ele")
