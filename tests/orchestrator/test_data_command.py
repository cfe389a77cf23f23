"""`sweepboard data list` and `data where`, and a sweep over a suite of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.cli import main


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of data sets, pointed at: one set of a suite of one's own, twelve images in two classes."""
    data = tmp_path / "data"
    folder = data / "my" / "shades"
    folder.mkdir(parents=True)
    for split, size in {"train": 6, "val": 2, "test": 4}.items():
        names = [f"{split}{index}.png" for index in range(size)]
        for index, name in enumerate(names):
            Image.new("RGB", (8, 8), (60 + 120 * (index % 2), 90, 10 * index)).save(folder / name)
        (folder / f"{split}.txt").write_text("".join(f"{name} {index % 2}\n" for index, name in enumerate(names)))
    (data / "datasets.yaml").write_text("name: my\ndatasets:\n  shades: {title: Two shades}\n  colours:\n")
    monkeypatch.setenv("SWEEPBOARD_DATA", str(data))
    return data


def records(words: list[str], home: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert main(["data", *words, "--json", "--home", str(home)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == 1
    return document["datasets"]


def test_the_list_says_what_is_here(root, tmp_path, capsys):
    found = {record["name"]: record for record in records(["list"], tmp_path, capsys)}
    assert found["my/shades"]["state"] == found["embedded/digits"]["state"] == "here"
    assert (found["my/shades"]["train"], found["my/shades"]["trainval"], found["my/shades"]["test"]) == (6, 8, 4)
    assert found["my/colours"]["state"] == found["vtab1k/dtd"]["state"] == "missing"
    assert found["vtab1k/dtd"]["test"] == 1880
    assert main(["data", "list", "my", "--home", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    lines = [line.split() for line in captured.out.splitlines()[1:]]
    assert lines == [
        ["my/shades", "my", "2", "6+2", "4", "here", str(root / "my" / "shades")],
        ["my/colours", "my", "?", "?", "?", "missing"],
    ]
    assert "sweepboard data where NAME" in captured.err


def test_where_says_how_to_get_what_is_missing(root, tmp_path, capsys):
    assert main(["data", "where", "@fgvc/*", "--home", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.count(": missing") == 5
    assert f"expected  {root}/fgvc/CUB_200_2011\n  lists     train.txt val.txt trainval.txt test.txt" in text
    assert "VPT's train.json, val.json and test.json" in text
    assert "train+val 5,394+600, test 5,794; classes 200" in text
    (record,) = records(["where", "vtab1k/cifar"], tmp_path, capsys)
    assert (record["name"], record["expected"]) == ("vtab1k/cifar100", str(root / "vtab1k" / "cifar"))


def test_where_tells_copies_apart(root, tmp_path, capsys):
    (root / "shades").mkdir()
    for path in (root / "my" / "shades").iterdir():
        (root / "shades" / path.name).write_bytes(path.read_bytes())
    assert main(["data", "where", "my/shades", "--home", str(tmp_path)]) == 0
    assert f"{root / 'shades'} (not read: the same content)" in capsys.readouterr().out
    (root / "shades" / "test0.png").write_bytes(b"other")
    (record,) = records(["where", "my/shades"], tmp_path, capsys)
    assert record["differing_copies"] == [str(root / "shades")]


def test_what_is_unusable_says_why(root, tmp_path, capsys):
    (root / "my" / "shades" / "val.txt").write_text("val0.png zero\n")
    assert main(["data", "where", "my/shades", "--home", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "my/shades  Two shades: unusable" in text
    assert "val.txt, line 1: 'val0.png zero' is not 'relative/path label'" in text


def test_without_a_folder_of_data_the_benchmarks_are_still_known(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("SWEEPBOARD_DATA", raising=False)
    found = records(["list"], tmp_path, capsys)
    sizes = {"embedded": 3, "vtab1k": 19, "fgvc": 5, "general": 2, "robustness": 3, "segmentation": 1}
    assert [record["suite"] for record in found] == [suite for suite, size in sizes.items() for _ in range(size)]
    assert main(["data", "where", "vtab1k/dtd", "--home", str(tmp_path)]) == 0
    assert "expected  $SWEEPBOARD_DATA/vtab1k/dtd" in capsys.readouterr().out
    assert records(["list", "local"], tmp_path, capsys) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "vtab"], "Did you mean 'vtab1k'?"),
        (["where", "my/shade"], "Did you mean 'my/shades'?"),
        (["where", "@my/animals"], "stands for no data set"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(root, tmp_path, capsys, words, said):
    assert main(["data", *words, "--home", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


def test_a_wrong_file_of_suites_is_a_message_with_its_line(root, tmp_path, capsys):
    (root / "datasets.yaml").write_text("name: my\ndatasets: {shades: {grop: x}}\n")
    for words in (["data", "list"], ["data", "where", "my/shades"]):
        assert main([*words, "--home", str(tmp_path)]) == 2
        captured = capsys.readouterr()
        assert "datasets.yaml, line 2: datasets.shades.grop: is no key here. Did you mean 'group'?" in captured.err
        assert captured.out == ""


def test_a_suite_of_ones_own_is_swept_and_has_its_board(root, tmp_path, capsys):
    spec = tmp_path / "mine.yaml"
    spec.write_text(
        'name: mine\ndatasets: ["my/shades"]\nbackbones: [raw_pixels]\nmethods: [linear]\n'
        "train: {epochs: 1, batch_size: 4, image_size: 8}\nseeds: 1\n"
    )
    words = ["run", "--pool", "inline", "--mlflow", "off", "--no-preflight", str(spec), "--home", str(tmp_path)]
    assert main(words) == 0
    capsys.readouterr()
    assert main(["leaderboard", "mine", "--suite", "my", "--format", "json", "--home", str(tmp_path)]) == 0
    (section,) = json.loads(capsys.readouterr().out)["sections"]
    assert (section["suite"], section["rows"][0]["done"]) == ("my", 1)
    assert section["notes"] == ["1 of the 2 tasks of my are shown: averages are of these alone."]
