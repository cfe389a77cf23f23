"""A real search, small enough for a test, from its spec to the board: logistic regression on raw pixels."""

import json

import pytest

from orchestrator.cli import main

SPEC = """\
name: tuned
datasets: [embedded/digits]
backbones: [raw_pixels]
methods: [linear]
seeds: 2
train: {epochs: 2}
tune: {trials: 5, space: {lr: {log: [1e-5, 1e-2]}}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    (folder / "tuned.yaml").write_text(SPEC)
    assert drive(folder) == 0
    return folder


def drive(folder):
    words = ["run", str(folder / "tuned.yaml"), "--home", str(folder / "home"), "--pool", "inline", "--mlflow", "off"]
    return main([*words, "--no-preflight"])


def asked(capsys, folder, *words):
    capsys.readouterr()
    assert main([*words, "--home", str(folder / "home")]) == 0
    return capsys.readouterr().out


def test_every_trial_is_shown_with_its_values_and_how_it_ended(home, capsys):
    record = json.loads(asked(capsys, home, "tune", "show", "tuned", "--json"))
    (study,) = record["studies"]
    assert [one["number"] for one in study["trials"]] == [0, 1, 2, 3, 4]
    assert all(1e-5 <= one["params"]["train.lr"] <= 1e-2 for one in study["trials"])
    assert all(one["val_top1_pct"] > 0 for one in study["trials"] if one["state"] == "done")
    text = asked(capsys, home, "tune", "show", "tuned")
    assert "linear  raw_pixels  embedded/digits" in text
    assert "tuning: 1 of 1 studies have chosen; 5 trials" in text


def test_the_best_values_are_those_of_the_final_jobs(home, capsys):
    (study,) = json.loads(asked(capsys, home, "tune", "best", "--json"))["studies"]
    assert study["best"]["number"] == study["final_jobs_from_trial"]
    board = json.loads(asked(capsys, home, "leaderboard", "tuned", "--format", "json"))
    assert f"{study['best']['params']['train.lr']:.3g}" in json.dumps(board)
    assert "val " in asked(capsys, home, "tune", "best", "tuned")


def test_the_budget_stands_on_the_row_of_the_board(home, capsys):
    text = asked(capsys, home, "leaderboard", "tuned", "--format", "md")
    assert "linear (tuned: 5 trials)" in text
    assert "chose on val200: digits train.lr=" in text


def test_status_says_how_far_the_search_is(home, capsys):
    assert "tuning: 1 of 1 studies have chosen; 5 trials" in asked(capsys, home, "status", "tuned")
    assert json.loads(asked(capsys, home, "status", "tuned", "--json"))["tuning"]["trials"] == 5


def test_the_same_command_again_runs_nothing(home, capsys):
    capsys.readouterr()
    assert drive(home) == 0
    said = capsys.readouterr().err
    assert "0 jobs run" in said
    assert "tuning: 1 study, each for 5 trials; 5 trials known" in said


def test_the_plan_says_what_is_known_of_the_search(home, capsys):
    text = asked(capsys, home, "plan", str(home / "tuned.yaml"))
    assert "tune: 1 cell, 5 trials each (tpe, pruner median); 5 trials are recorded already" in text
    assert "time: nothing to run" in text
    assert "diff: 0 jobs added, 0 dropped" in asked(capsys, home, "plan", str(home / "tuned.yaml"), "--diff")


def test_words_that_choose_jobs_are_refused(home, capsys):
    words = ["run", str(home / "tuned.yaml"), "--home", str(home / "home"), "--limit", "1"]
    assert main(words) == 2
    assert "a search finds its own" in capsys.readouterr().err


def test_a_sweep_without_a_search_has_nothing_to_show(home, capsys, tmp_path):
    from storage.open import open_store

    (tmp_path / "home").mkdir()
    store = open_store(tmp_path / "home" / "store.db")
    store.save_sweep("plain", "name: plain\n", [])
    store.close()
    assert main(["tune", "show", "plain", "--home", str(tmp_path / "home")]) == 4
    assert "has no trials" in capsys.readouterr().err
