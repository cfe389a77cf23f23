"""`sweepboard tune` about some studies of a sweep, and options that one of its words does not have."""

import json

import pytest

from orchestrator.cli import main
from storage.open import open_store
from tests.orchestrator.tuning.searches import SPACE, Search, spec_text


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two rows on two data sets."""
    folder = tmp_path_factory.mktemp("home")
    tune = f"trials: 6, sampler: random, {SPACE}"
    search = Search(spec_text(tune, methods="[gps, {gps: {level: net, label: whole}}]", rest="seeds: 1"), folder)
    search.store.close()
    search.store = open_store(folder / "store.db", clock=search.clock)
    search.drive()
    search.store.close()
    return folder


def asked(capsys, home, *words, code=0):
    capsys.readouterr()
    assert main(["tune", *map(str, words), "--home", str(home)]) == code
    printed = capsys.readouterr()
    return printed.out if code == 0 else printed.err


def studies(capsys, home, *words):
    found = json.loads(asked(capsys, home, "best", "s", "--json", *words))["studies"]
    return [(one["row"], one["dataset"]) for one in found]


def test_names_leave_the_studies_that_have_them(home, capsys):
    rows, sets = ("gps", "whole"), ("embedded/digits", "embedded/location")
    assert sorted(studies(capsys, home)) == [(row, dataset) for row in rows for dataset in sets]
    assert sorted(studies(capsys, home, "--row", "whole")) == [("whole", dataset) for dataset in sets]
    assert sorted(studies(capsys, home, "--dataset", "digits")) == [(row, "embedded/digits") for row in rows]
    assert studies(capsys, home, "--row", "gps", "--dataset", "embedded/digits") == [("gps", "embedded/digits")]
    assert len(studies(capsys, home, "--backbone", "nano_vit")) == 4


def test_every_way_to_look_takes_them(home, capsys, tmp_path):
    one = ("s", "--row", "gps", "--dataset", "location")
    assert asked(capsys, home, "show", *one).count("(study ") == 1
    assert "1 of 1 studies have chosen; 6 trials" in asked(capsys, home, "best", *one)
    assert len(json.loads(asked(capsys, home, "importance", *one, "--json"))["studies"]) == 1
    assert asked(capsys, home, "export", *one, "--to", tmp_path / "one.db").startswith("gps | nano_vit | embedded/loc")
    assert len(json.loads(asked(capsys, home, "plot", *one, "--to", tmp_path, "--json"))["figures"]) == 3
    assert "embedded/digits" not in asked(capsys, home, "freeze", *one)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--row", "gsp"), "s has no row 'gsp' among its searches. Did you mean 'gps'?"),
        (("--dataset", "x", "--study", "y"), "s has no data set 'x' among its searches. Known: embedded/digits"),
        (("--dataset", "x", "--study", "y"), "s has no study 'y' among its searches."),
    ],
)
def test_a_name_that_no_study_has_is_said(home, capsys, words, said):
    assert said in asked(capsys, home, "show", "s", *words, code=2)


def test_names_that_exclude_each_other_are_said(home, capsys):
    (study,) = json.loads(asked(capsys, home, "best", "--json", "--row", "gps", "--dataset", "digits"))["studies"]
    words = ("--study", study["study"], "--dataset", "location")
    assert "has no search that is all of --dataset location --study" in asked(capsys, home, "show", *words, code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "--hours", "2", "--seeds", "3"), "tune show: --hours belongs to tune replay; --seeds belongs to"),
        (("best", "--trial", "3"), "tune best: --trial belongs to tune freeze"),
        (("importance", "--to", "x"), "tune importance: --to belongs to tune freeze, export, plot"),
        (("replay", "--to", "x"), "tune replay: --to belongs to tune freeze, export, plot"),
    ],
)
def test_an_option_of_another_word_is_refused(home, capsys, words, said):
    assert said in asked(capsys, home, *words, code=2)


WORDS = ("show", "best", "freeze", "replay", "importance", "export", "plot")


@pytest.mark.parametrize("what", WORDS)
def test_where_there_is_nothing_to_show_every_word_says_so_with_the_same_code(what, capsys, tmp_path):
    assert "the store holds no sweep yet" in asked(capsys, tmp_path, what, code=4)
    assert "the store holds no sweep yet" in asked(capsys, tmp_path, what, "s", code=4)
    store = open_store(tmp_path / "store.db")
    store.save_sweep("plain", "name: plain\n", [])
    store.close()
    assert "plain has no trials" in asked(capsys, tmp_path, what, code=4)
    assert "plain has no trials" in asked(capsys, tmp_path, what, "plain", "--json", "--row", "gps", code=4)


@pytest.mark.parametrize("what", WORDS)
def test_a_sweep_that_is_not_there_is_a_wrong_name(what, home, capsys):
    assert "no sweep 'ss' in this store. Did you mean 's'?" in asked(capsys, home, what, "ss", code=2)
