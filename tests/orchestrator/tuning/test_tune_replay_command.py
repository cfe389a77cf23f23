"""`sweepboard tune replay`, from a sweep in a store and from a saved table."""

import json

import pytest

from orchestrator.cli import main
from storage.open import open_store
from tests.orchestrator.tuning.searches import Search, planned

SPEC = """\
name: s
datasets: [embedded/digits, embedded/location]
backbones: [pico_vit]
methods: [gps]
seeds: 1
train: {epochs: 8}
tune:
  trials: 30
  sampler: grid
  pruner: none
  space: {lr: {choice: [1e-3, 1e-2]}, gps.connections_per_neuron: {int: [1, 15]}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home whose store holds two whole grids; the hash of the weights is the installed one."""
    from orchestrator.catalogue import installed_catalogue
    from orchestrator.plan import plan
    from orchestrator.spec import parse_spec

    folder = tmp_path_factory.mktemp("home")
    search = Search(SPEC, folder, 8)
    search.store.close()
    search.store = open_store(folder / "store.db", clock=search.clock)
    search.plans = lambda text: plan(parse_spec(text), installed_catalogue(None, folder / "cache"))
    search.drive()
    search.store.close()
    return folder


def asked(capsys, *words, code=0):
    capsys.readouterr()
    assert main(["tune", "replay", *map(str, words)]) == code
    printed = capsys.readouterr()
    return printed.out if code == 0 else printed.err


def test_every_combination_has_a_line_for_every_study(home, capsys):
    words = ("--sampler", "tpe,random", "--pruner", "none,median", "--trials", "6,9", "--seeds", 2)
    text = asked(capsys, "s", "--home", home, *words)
    assert text.count("  tpe  ") == text.count("  random  ") == 2 * 2 * 2
    assert "embedded/digits  (study " in text
    assert "30 recorded trials, 240 epochs" in text


def test_programs_get_every_number(home, capsys):
    record = json.loads(
        asked(capsys, "--home", home, "--dataset", "embedded/location", "--sampler", "grid", "--pruner", "none",
              "--trials", 30, "--seeds", 1, "--json")
    )  # fmt: skip
    (study,) = record["studies"]
    assert study["dataset"] == "embedded/location"
    (found,) = study["searches"]
    assert (found["regret_points"], found["distinct_trials"], found["epochs_pct_of_table"]) == (0, 30, 100)
    assert found["within_one_image"] == 1


def test_budgets_may_be_hours_of_slots(home, capsys):
    words = ("s", "--home", home, "--dataset", "embedded/digits", "--hours", "0.05,0.2", "--pruner", "none")
    assert asked(capsys, *words, "--seeds", 2).count("  tpe  ") == 2
    assert asked(capsys, *words, "--seeds", 2, "--trials", 3).count("  tpe  ") == 3
    few, many = json.loads(asked(capsys, *words, "--seeds", 1, "--json"))["studies"][0]["searches"]
    assert (few["trials"], few["slot_hours"], many["slot_hours"]) == (None, 0.05, 0.2)
    assert 0.05 <= few["virtual_hours"] < 0.07 < many["virtual_hours"]


def test_a_saved_table_is_replayed_without_a_store_to_the_same_numbers(home, capsys, tmp_path, monkeypatch):
    words = ("--sampler", "tpe", "--trials", 8, "--seeds", 3)
    stored = asked(capsys, "s", "--home", home, "--dataset", "embedded/digits", *words)
    asked(capsys, "s", "--home", home, "--dataset", "embedded/digits", "--save", tmp_path / "digits.jsonl")
    monkeypatch.chdir(tmp_path)
    assert asked(capsys, "--table", "digits.jsonl", *words) == stored
    assert [one.name for one in tmp_path.iterdir()] == ["digits.jsonl"]


def test_a_replay_leaves_the_store_as_it_is(home, capsys):
    before = (home / "store.db").read_bytes()
    asked(capsys, "s", "--home", home, "--trials", 5, "--seeds", 1)
    assert (home / "store.db").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--sampler", "tpee"), "'tpee' is none of tpe, random, grid, nsga2. Did you mean 'tpe'?"),
        (("--pruner", "all"), "'all' is none of none, median"),
        (("--trials", "0"), "--trials 0: expected a whole number from 1"),
        (("--hours", "0.5,none"), "--hours 0.5,none: expected hours above 0"),
        (("--hours", "99"), "--hours 99: all trials of embedded/digits together took"),
        (("--hours", "0"), "--hours 0: expected hours above 0"),
        (("--seeds", "many"), "--seeds many: expected a whole number"),
        (
            ("--dataset", "embedded/digit"),
            "s has no data set 'embedded/digit' among its searches. Did you mean 'embedded/digits'?",
        ),
        (("--study", "ffff"), "s has no study 'ffff' among its searches. Known: "),
        (("--save", "x.jsonl"), "--save writes one study"),
        (("--save", "x.csv", "--dataset", "embedded/digits"), "ends in .jsonl"),
        (("--table", "x.jsonl"), "leave out the sweep"),
    ],
)
def test_what_does_not_fit_is_said(home, capsys, words, said):
    assert said in asked(capsys, "s", "--home", home, *words, code=2)


def test_a_table_that_is_not_there_is_said(capsys, tmp_path):
    assert "cannot be read: No such file" in asked(capsys, "--table", tmp_path / "no.jsonl", code=2)


def test_a_grid_over_a_continuous_space_is_refused(home, capsys, tmp_path):
    asked(capsys, "s", "--home", home, "--dataset", "embedded/digits", "--save", tmp_path / "t.jsonl")
    head, *rest = (tmp_path / "t.jsonl").read_text().splitlines()
    record = json.loads(head)
    record["space"]["train.lr"] = {"log": [1e-3, 1e-2]}
    (tmp_path / "t.jsonl").write_text("\n".join([json.dumps(record), *rest]))
    words = ("--table", tmp_path / "t.jsonl", "--seeds", 1)
    assert "train.lr of embedded/digits is continuous" in asked(capsys, *words, "--sampler", "grid", code=2)
    assert "answered by the nearest recorded trial" in asked(capsys, *words)


def test_a_sweep_whose_plan_leads_elsewhere_is_said(home, capsys, tmp_path):
    store = open_store(tmp_path / "store.db")
    store.save_sweep("s", SPEC, planned(SPEC).entries[:1])
    store.close()
    assert "s has no trials to replay" in asked(capsys, "s", "--home", tmp_path, code=4)
