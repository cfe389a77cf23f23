"""`sweepboard data check`, and what `run` refuses, as a person types them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from orchestrator.cli import main

SPEC = """\
name: on-own-data
datasets: [local/good, local/torn, local/twice]
backbones: [raw_pixels]
methods: [linear]
train: {epochs: 1}
"""


def _draw(folder, repeat: int = 1) -> None:
    """Three small classes; `repeat` lines for each test image."""
    draws = np.random.default_rng(0)
    listed = {}
    for split, count in (("train800", 6), ("val200", 3), ("test", 3)):
        (folder / "images" / split).mkdir(parents=True)
        listed[split] = []
        for index in range(count):
            name = f"images/{split}/{index}.png"
            Image.fromarray(draws.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / name)
            listed[split] += [f"{name} {index % 3}\n"] * (repeat if split == "test" else 1)
    listed["train800val200"] = listed["train800"] + listed["val200"]
    for split, lines in listed.items():
        (folder / f"{split}.txt").write_text("".join(lines))


@pytest.fixture
def data(tmp_path, monkeypatch):
    root = tmp_path / "data"
    _draw(root / "good")
    monkeypatch.setenv("SWEEPBOARD_DATA", str(root))
    return root


def _check(tmp_path, *arguments: str) -> int:
    return main(["data", "check", *arguments, "--home", str(tmp_path / "home")])


def test_sound_data_pass_and_one_bad_set_makes_the_exit_code_eight(data, tmp_path, capsys):
    assert _check(tmp_path) == 0
    assert "local/good  can be trusted" in capsys.readouterr().out
    _draw(data / "twice", repeat=2)
    assert _check(tmp_path) == 8
    text = capsys.readouterr().out
    assert "local/good  can be trusted" in text
    assert "local/twice  CANNOT be trusted" in text
    assert "3 images are listed more than once" in text


def test_json_has_every_finding(data, tmp_path, capsys):
    assert _check(tmp_path, "local/g*", "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["version"] == 1
    (found,) = record["datasets"]
    assert (found["name"], found["trusted"], len(found["data_hash"])) == ("local/good", True, 64)
    assert {finding["level"] for finding in found["findings"]} == {"ok"}
    assert set(found["findings"][0]) == {"level", "what", "where", "advice"}


def test_names_that_mean_nothing_are_told(data, tmp_path, capsys):
    assert _check(tmp_path, "local/god") == 2
    assert "no folder 'god'" in capsys.readouterr().err
    assert _check(tmp_path, "bad*") == 2
    assert "'bad*' matches no data set that is here" in capsys.readouterr().err


def test_without_data_there_is_nothing_to_check(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SWEEPBOARD_DATA", raising=False)
    assert _check(tmp_path) == 4
    assert "nothing to check" in capsys.readouterr().err


def test_run_refuses_all_broken_sets_at_once_before_the_first_job(data, tmp_path, capsys):
    _draw(data / "torn")
    (data / "torn" / "images" / "val200" / "1.png").unlink()
    _draw(data / "twice", repeat=2)
    (tmp_path / "spec.yaml").write_text(SPEC)
    home = str(tmp_path / "home")
    assert main(["run", str(tmp_path / "spec.yaml"), "--home", home, "--pool", "inline", "--mlflow", "off"]) == 2
    text = capsys.readouterr().err
    assert "data set 'local/torn' is broken" in text
    assert "1 of 12 listed images are not there: images/val200/1.png" in text
    assert "data set 'local/twice' is broken" in text
    assert "jobs run" not in text
