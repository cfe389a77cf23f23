"""`tune importance | export | plot` as they are typed, on a search in virtual time."""

import json
import subprocess
import sys

import pytest

from orchestrator.cli import main
from storage.open import open_store
from storage.records import FailureClass, Phase
from tests.architecture.test_imports import BASE_ONLY
from tests.orchestrator.tuning.searches import SPACE, Search, spec_text, trained
from workers.pools.scripted import Answer, failed


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    one = Search(spec_text(f"trials: 12, pruner: none, {SPACE}", datasets="[embedded/digits]"), folder)
    one.store.close()
    one.store = open_store(folder / "store.db", clock=one.clock)
    one.drive()
    one.store.close()
    return folder


def typed(capsys, home, *words):
    """Exit code, stdout, stderr."""
    capsys.readouterr()
    code = main(["tune", *(str(word) for word in words), "--home", str(home)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_importances_are_parts_of_one_and_say_what_they_rest_on(home, capsys):
    code, text, _ = typed(capsys, home, "importance", "s")
    record = json.loads(typed(capsys, home, "importance", "s", "--json")[1])
    assert code == 0
    assert (record["version"], record["sweep"], record["evaluator"]) == (1, "s", "PED-ANOVA")
    (one,) = record["studies"]
    assert (one["row"], one["backbone"], one["dataset"]) == ("gps", "nano_vit", "embedded/digits")
    assert (one["trials"], one["reason"]) == (12, "")
    assert sum(one["importances"].values()) == pytest.approx(1)
    assert text.count("not told from chance") == sum(chance > 0.05 for chance in one["chance"].values())
    finished = f"{one['finished']} of 12 trials finished; the best {one['best']} against the rest"
    assert text.startswith(f"gps  nano_vit  embedded/digits: {finished}\n")
    assert text == typed(capsys, home, "importance", "s")[1]


def test_without_enough_trials_a_line_says_why_there_are_no_numbers(tmp_path, capsys):
    one = Search(spec_text(f"trials: 4, {SPACE}", datasets="[embedded/digits]"), tmp_path)
    one.store.close()
    one.store = open_store(tmp_path / "store.db", clock=one.clock)
    one.drive()
    one.store.close()
    code, text, _ = typed(capsys, tmp_path, "importance")
    assert code == 0
    assert text.endswith("of 4 trials finished; no importances: needs 10 finished trials\n")
    (study,) = json.loads(typed(capsys, tmp_path, "importance", "--json")[1])["studies"]
    assert (study["importances"], study["reason"]) == (None, "needs 10 finished trials")


def test_an_export_names_its_studies_and_how_to_look_at_them(home, capsys, tmp_path):
    code, text, said = typed(capsys, home, "export", "s", "--to", tmp_path / "s.db")
    assert code == 0
    assert (tmp_path / "s.db").is_file()
    assert "gps | nano_vit | embedded/digits | " in text
    assert "optuna-dashboard sqlite:///" in said
    record = json.loads(typed(capsys, home, "export", "s", "--to", tmp_path / "s.db", "--json")[1])
    assert (record["file"], record["trials"]) == (str(tmp_path / "s.db"), 12)
    assert record["studies"] == text.splitlines()


def test_an_export_needs_a_file_of_its_own(home, capsys, tmp_path):
    assert typed(capsys, home, "export", "s")[0] == 2
    code, _, said = typed(capsys, home, "export", "s", "--to", tmp_path / "s.sqlite")
    assert (code, "tune export needs --to FILE.db, not" in said) == (2, True)
    before = (home / "store.db").read_bytes()
    code, _, said = typed(capsys, home, "export", "s", "--to", home / "store.db")
    assert (code, "is no earlier export of ours" in said) == (2, True)
    assert (home / "store.db").read_bytes() == before


def test_figures_lie_in_the_home_or_where_they_are_wanted(home, capsys, tmp_path):
    code, text, said = typed(capsys, home, "plot", "s")
    assert (code, text) == (0, f"{home / 'plots' / 's' / 'index.html'}\n")
    assert "3 figures as PNG beside it" in said
    record = json.loads(typed(capsys, home, "plot", "s", "--to", tmp_path / "p", "--json")[1])
    written = {str(file) for file in (tmp_path / "p").iterdir()}
    assert {record["page"], *record["figures"]} == written
    assert {file.rpartition("-")[2] for file in record["figures"]} == {
        "history.png",
        "slice.png",
        "gps.connections_per_neuron.png",
    }


@pytest.mark.parametrize("what", ["importance", "export", "plot"])
def test_a_sweep_without_a_search_has_nothing_to_look_at(what, capsys, tmp_path):
    store = open_store(tmp_path / "store.db")
    store.save_sweep("plain", "name: plain\n", [])
    store.close()
    place = [] if what == "importance" else ["--to", tmp_path / "x.db"]
    code, text, said = typed(capsys, tmp_path, what, "plain", *place)
    assert (code, text, "has no trials" in said) == (4, "", True)
    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize(("what", "package"), [("importance", "optuna"), ("export", "optuna"), ("plot", "matplotlib")])
def test_without_the_extra_it_says_how_to_install_it(what, package, home, tmp_path):
    place = [] if what == "importance" else ["--to", str(tmp_path / "x.db")]
    words = [sys.executable, "-c", BASE_ONLY, "tune", what, "s", *place, "--home", str(home)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"tune {what} needs {package}: pip install 'sweepboard[tune]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_extra_the_trials_can_still_be_shown(home):
    words = [sys.executable, "-c", BASE_ONLY, "tune", "show", "s", "--home", str(home)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "gps  nano_vit" in done.stdout) == (0, True)


def failing(job, lease_epoch):
    """Large rates diverge; of the others every second fails, with a message of several lines."""
    if job.phase is Phase.SEARCH and job.recipe.lr < 0.05 and int(job.job_id, 16) % 2:
        return Answer(1.0, failed(job, FailureClass.USER_ERROR, f"no room\n  for {'very ' * 40}much"))
    return trained(job, lease_epoch)


def test_a_trial_without_a_number_says_why_in_one_short_line(tmp_path, capsys):
    one = Search(spec_text(f"trials: 16, sampler: random, {SPACE}", datasets="[embedded/digits]"), tmp_path, 4, failing)
    one.store.close()
    one.store = open_store(tmp_path / "store.db", clock=one.clock)
    one.drive()
    one.store.close()
    (study,) = json.loads(typed(capsys, tmp_path, "show", "--json")[1])["studies"]
    lines = typed(capsys, tmp_path, "show")[1].splitlines()[1:17]
    ends = {trial["state"]: (trial["reason"], line) for trial, line in zip(study["trials"], lines, strict=True)}
    assert {"done", "failed", "diverged"} <= set(ends)
    reason, line = ends["failed"]
    assert reason.startswith("no room\n  for very very") and reason.endswith("much")
    assert "  (no room for very very " in line and line.endswith("ve…)") and len(line) < 170
    assert ends["diverged"][1].endswith("  (as the script says)")
    assert ends["done"][0] == "" and "(" not in ends["done"][1]
