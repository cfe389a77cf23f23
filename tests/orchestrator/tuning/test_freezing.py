"""What a search chose as a recipe file: the same values by name are the same jobs."""

import json

import pytest
import yaml

from orchestrator.cli import main
from orchestrator.errors import UsageError
from orchestrator.tuning.freezing import frozen_recipe, write_recipe
from orchestrator.tuning.outcomes import DONE, Best, Outcome
from orchestrator.tuning.report import StudyReport, TrialReport
from storage.records import Trial


def study(row="gps", dataset="embedded/digits", *, chosen=1, backbone="nano_vit"):
    def trial(number, lr, k):
        values = {"train.lr": lr, "gps.connections_per_neuron": k}
        outcome = Outcome(DONE, {"val_top1_pct": 50.0 + number, "val_loss": 1.0})
        return TrialReport(Trial("s" * 16, number, f"{number}" * 16, values), DONE, outcome, 3, 3)

    return StudyReport("s" * 16, row, backbone, dataset, (trial(0, 1e-3, 1), trial(1, 1e-2, 7)), Best(1, (0,)), chosen)


def test_each_data_set_has_its_row_with_the_values_of_its_best_trial():
    record = yaml.safe_load(frozen_recipe("s", [study(), study(dataset="embedded/count")]))
    values = {"lr": 1e-2, "gps.connections_per_neuron": 7}
    assert record["tasks"] == {"embedded/digits": values, "embedded/count": values}
    assert record["source"] == "search of sweep s, row gps on nano_vit: sweepboard tune freeze"
    assert record["notes"][0].endswith("trial 1 of 2, study ssssssssssssssss, val_top1_pct 51.0, tied with 1 others")


def test_one_row_and_one_backbone_make_a_recipe():
    both = [study(), study("lora"), study(backbone="pico_vit")]
    with pytest.raises(UsageError, match=r"there are gps, lora: give --row; .*nano_vit, pico_vit: give --backbone"):
        frozen_recipe("s", both)
    assert "row lora" in frozen_recipe("s", both[1:2])


def test_a_search_that_is_not_over_is_not_frozen():
    with pytest.raises(UsageError, match="the search on embedded/count is not over"):
        frozen_recipe("s", [study(), study(dataset="embedded/count", chosen=None)])


def test_an_earlier_freeze_is_replaced(tmp_path):
    mine = tmp_path / "new" / "mine.yaml"
    for chosen in (0, 1, 1):
        text = frozen_recipe("another", [study(row="long " * 40, chosen=chosen)])
        write_recipe(text, mine)
        assert mine.read_text() == text
    assert list(mine.parent.iterdir()) == [mine]


@pytest.mark.parametrize(
    "theirs",
    [
        "name: t\ndatasets: [embedded/digits]\nmethods: [gps]\n",
        "source: the paper, table 3\ntasks: {embedded/digits: {lr: 0.01}}\n",
        f"{frozen_recipe('s', [study()])}train: {{epochs: 3}}\n",
        f"# {frozen_recipe('s', [study()])}",
        "a: [\n",
        "- [1, 2]\n",
        "",
        "\0\xff",
    ],
)
def test_a_file_of_somebody_else_is_left_as_it_is(tmp_path, theirs):
    (tmp_path / "mine.yaml").write_text(theirs, encoding="latin-1")
    with pytest.raises(UsageError, match=r"mine.yaml exists and is no earlier freeze of ours; choose another name"):
        write_recipe(frozen_recipe("s", [study()]), tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text(encoding="latin-1") == theirs
    assert len(list(tmp_path.iterdir())) == 1


def test_a_spec_that_names_the_file_has_the_jobs_that_the_search_ended_with(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    head = "datasets: [embedded/digits]\nbackbones: [raw_pixels]\nmethods: [linear]\n"
    (tmp_path / "t.yaml").write_text(
        f"name: t\n{head}train: {{epochs: 1}}\ntune: {{trials: 2, space: {{lr: {{log: [1e-5, 1e-2]}}}}}}\n"
    )
    (tmp_path / "use.yaml").write_text(f"name: use\n{head}train: {{epochs: 1}}\nrecipe: mine.yaml\n")
    here = ["--home", str(tmp_path / "home")]
    inline = [*here, "--pool", "inline", "--mlflow", "off", "--no-preflight"]
    assert main(["run", "t.yaml", *inline]) == 0
    assert main(["tune", "freeze", "t", "--to", "mine.json", *here]) == 2
    assert main(["tune", "freeze", "t", "--to", "t.yaml/mine.yaml", *here]) == 2
    before = (tmp_path / "t.yaml").read_bytes()
    assert main(["tune", "freeze", "t", "--to", "t.yaml", *here]) == 2
    assert (tmp_path / "t.yaml").read_bytes() == before
    assert main(["tune", "freeze", "t", "--to", "mine.yaml", *here]) == 0
    assert main(["tune", "freeze", "t", "--to", "mine.yaml", *here]) == 0
    capsys.readouterr()
    assert main(["tune", "freeze", "t", "--json", *here]) == 0
    assert json.loads(capsys.readouterr().out)["tasks"]["embedded/digits"]["lr"] > 0
    assert main(["run", "use.yaml", *inline]) == 0
    assert "use: 0 jobs run" in capsys.readouterr().err
