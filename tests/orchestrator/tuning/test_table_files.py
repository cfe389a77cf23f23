"""Tables from files that somebody has edited: all that is wrong is said before anything is replayed."""

import json
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.errors import UsageError
from orchestrator.tuning.tables import load_table, save_table

DIGITS = Path(__file__).parents[2] / "golden" / "k_grid" / "digits.jsonl"
COUNT = "gps.connections_per_neuron"
NAN, INF = float("nan"), float("inf")


@pytest.fixture
def edited(tmp_path):
    """A table on disk: its head, and its trial of line 3, as edited; `kept`: how many lines are left."""

    def edit(head=None, trial=None, kept=None):
        lines = [json.loads(line) for line in DIGITS.read_text().splitlines()[:kept]]
        lines[0] |= head or {}
        for name, value in (trial or {}).items():
            inner = lines[2][name]
            lines[2][name] = inner | value if isinstance(inner, dict) and isinstance(value, dict) else value
        path = tmp_path / "t.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)))
        return path

    return edit


def space(lr):
    return {"space": {"train.lr": lr, COUNT: {"int": [1, 15]}}}


def said(path):
    with pytest.raises(UsageError) as error:
        load_table(path)
    head, *problems = str(error.value).splitlines()
    assert head.startswith(f"--table {path} has {len(problems)} problem")
    return [problem.strip() for problem in problems]


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        ({"log": [0.1, 0.001]}, "two numbers, the lower one first"),
        ({"log": [0, 0.1]}, "a log domain starts above 0"),
        ({"log": [0.001]}, "two numbers, the lower one first"),
        ({"log": ["a", "b"]}, "two numbers, the lower one first"),
        ({"int": [1, 2.5]}, "two whole numbers"),
        ({"uniform": [0, INF]}, "expected finite numbers"),
        ({"choice": [NAN, 1]}, "expected finite numbers"),
        ({"choice": []}, "at least one"),
        ({"banana": [0.001, 0.1]}, "expected {log: [low, high]}"),
        ({"log": 3}, "expected {log: [low, high]}"),
        (0.1, "expected {log: [low, high]}"),
    ],
)
def test_a_domain_has_the_rules_of_specs(edited, domain, expected):
    (problem,) = said(edited(space(domain)))
    assert problem.startswith("line 1: space.train.lr is ")
    assert expected in problem


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        ({"epochs": 0}, "epochs is 0; expected a whole number of at least 1"),
        ({"epochs": -3}, "epochs is -3; expected a whole number of at least 1"),
        ({"epochs": True}, "epochs is True; expected a whole number of at least 1"),
        ({"space": {}}, "space is {}; expected a domain of every parameter"),
        ({"space": 3}, "space is 3; expected a domain of every parameter"),
        ({"fixed": {"recipe": {"lr": NAN}}}, "fixed has a number that is not finite"),
        ({"row": 3}, "row is 3; expected text"),
        ({"sweepboard_table": 2}, "sweepboard_table is 2, and this Sweepboard reads 1"),
        (
            {"constraint": ["macs", 0.5], "bound": ["macs", 0]},
            'bound is [\'macs\', 0]; expected null or ["macs", 1000] or ["trainable_params", 1000], the number above 0',
        ),
        ({"bound": ["macs", 1e6]}, "constraint and bound say the same in two units; expected both or none"),
    ],
)
def test_the_head_says_what_can_be_searched(edited, head, problem):
    assert said(edited(head)) == [f"line 1: {problem}"]


@pytest.mark.parametrize(
    ("trial", "problem"),
    [
        ({"params": {"train.lr": -1}}, "params.train.lr is -1; expected log: [0.001, 0.03]"),
        ({"params": {"train.lr": "x"}}, "params.train.lr is 'x'; expected log: [0.001, 0.03]"),
        ({"params": {"train.lr": NAN}}, "params.train.lr is nan; expected log: [0.001, 0.03]"),
        ({"params": {COUNT: 16}}, f"params.{COUNT} is 16; expected int: [1, 15]"),
        ({"params": {"train.lr": 10**400}}, "params.train.lr is 1000"),
        ({"params": {COUNT: 2.0}}, f"params.{COUNT} is 2.0; expected int: [1, 15]"),
        ({"params": []}, "params is []; expected a value of every parameter"),
        ({"end": "lost"}, "end is 'lost'; expected one of done, diverged, failed, refused"),
        ({"end": "refused"}, "refusal is None; expected why it was refused"),
        ({"wall_s": -5}, "wall_s is -5; expected seconds, from 0"),
        ({"wall_s": INF}, "wall_s is inf; expected seconds, from 0"),
        ({"metrics": {"val_top1_pct": NAN}}, "metrics.val_top1_pct is nan; expected a number from 0 to 100"),
        ({"metrics": {"val_top1_pct": 101}}, "metrics.val_top1_pct is 101; expected a number from 0 to 100"),
        ({"metrics": {"macs": "many"}}, "metrics.macs is 'many'; expected a number"),
        ({"metrics": None}, "metrics is None; expected a number of every metric"),
        ({"val_loss": [1.0]}, "val_loss has 1 values, and epoch 8; expected as many"),
        ({"val_top1_pct": [1, NAN]}, "val_top1_pct is [1, nan]; expected a list: a number from 0 to 100 of every"),
        ({"epoch": [*range(1, 8), 7]}, "epoch is [1, 2, 3, 4, 5, 6, 7, 7]; expected whole numbers from 1, rising"),
        ({"epoch_s": 3}, "epoch_s is 3; expected a list: seconds from 0"),
    ],
)  # fmt: skip
def test_a_trial_lies_in_the_space_and_has_numbers(edited, trial, problem):
    (found,) = said(edited(space({"log": [0.001, 0.03]}), trial))
    assert found.startswith(f"line 3: {problem}")


def test_a_trial_that_is_done_has_a_score(edited):
    path = edited(kept=3)
    path.write_text(path.read_text().replace('"val_top1_pct"', '"val_top5_pct"'))
    lacking = ("metrics lacks val_top1_pct, and the end is done", "lacks val_top1_pct by epoch")
    assert said(path) == [f"line {number}: {text}" for number in (2, 3) for text in lacking]


def test_all_that_is_wrong_is_said_at_once_and_what_is_too_much_is_counted(edited):
    path = edited({"epochs": 0, **space({"log": [1, 0.1]})}, {"wall_s": -1, "params": {COUNT: 0}})
    assert [problem.partition(":")[0] for problem in said(path)] == ["line 1", "line 1", "line 3", "line 3"]
    with pytest.raises(UsageError, match=r"has 60 problems(.|\n)*line 21: (.|\n)* … and 40 more$"):
        load_table(edited(space({"log": [0.5, 0.7]})))


def test_a_head_alone_is_no_table(edited):
    assert said(edited(kept=1)) == ["line 1: has no trial after it; a replay answers searches from recorded ones"]


@pytest.mark.parametrize("text", ["", "name: mine\n", "[]", "3", "{}", "[" * 100_000, '{"a": ' + "9" * 5000 + "}"])
def test_any_other_file_is_said_to_be_no_table(tmp_path, text):
    (tmp_path / "t.jsonl").write_text(text)
    (problem,) = said(tmp_path / "t.jsonl")
    assert problem.startswith("line 1: is no table of recorded trials: ")


def test_the_command_says_it_without_a_traceback(edited, capsys):
    path = edited(space({"choice": [0.001, 0.003, 0.01, 0.03]}), {"wall_s": -1e9})
    assert main(["tune", "replay", "--table", str(path), "--seeds", "1"]) == 2
    printed = capsys.readouterr().err
    assert "line 3: wall_s is -1000000000.0" in printed
    assert "--hours" not in printed


def test_empty_lines_at_the_end_do_no_harm(edited):
    path = edited()
    path.write_text(f"{path.read_text()}\n\n")
    assert load_table(path) == load_table(DIGITS)


def test_an_earlier_table_is_replaced_and_a_file_of_somebody_else_is_not(tmp_path):
    path = tmp_path / "t.jsonl"
    for _ in range(2):
        save_table(load_table(DIGITS), path)
        assert load_table(path) == load_table(DIGITS)
    for theirs in ('{"mine": 1}\n', "", "\0\xff"):
        path.write_text(theirs, encoding="latin-1")
        with pytest.raises(UsageError, match=r"t.jsonl exists and is no table; choose another name, or move it away"):
            save_table(load_table(DIGITS), path)
        assert path.read_text(encoding="latin-1") == theirs
