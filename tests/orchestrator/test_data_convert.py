"""`sweepboard data convert`, as a person types it: from a tree of folders to a data set that a sweep runs on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.cli import main


def draw(folder: Path, each: int = 10, size: int = 20) -> Path:
    draws = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("dark", "light"):
            (folder / split / name).mkdir(parents=True)
            for index in range(each):
                pixels = draws.integers(0, 128, (size, size, 3), dtype=np.uint8) + 127 * (name == "light")
                Image.fromarray(pixels.astype(np.uint8)).save(folder / split / name / f"{index}.png")
    return folder


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("SWEEPBOARD_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return draw(tmp_path / "shades")


def _convert(*words: object) -> int:
    return main(["data", "convert", *map(str, words)])


def test_the_commands_it_prints_work(source, tmp_path, capsys, monkeypatch):
    data = tmp_path / "data"
    assert _convert(source, "--to", data, "--as", "mine") == 0
    captured = capsys.readouterr()
    assert "local/mine: the source looks like folders" in captured.err
    assert f"local/mine  train 18, val 2, test 20; 2 classes; {data / 'mine'}" in captured.out
    assert "  note: val: 10 % of the training images" in captured.out
    setting, check, line = captured.out.partition("next:\n")[2].splitlines()
    name, _, value = setting.strip().removeprefix("export ").partition("=")
    monkeypatch.setenv(name, value)
    assert main([*check.split()[1:], "--home", str(tmp_path / "home")]) == 0
    assert "local/mine  can be trusted" in capsys.readouterr().out
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"name: x\n{line.strip()}\nbackbones: [raw_pixels]\nmethods: [linear]\ntrain: {{epochs: 1}}\n")
    assert main(["plan", str(spec), "--anywhere", "--home", str(tmp_path / "home")]) == 0
    assert "missing" not in capsys.readouterr().out


def test_json_says_the_same_and_the_second_time_nothing_is_written(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SWEEPBOARD_DATA", str(tmp_path / "data"))
    found = []
    for _ in range(2):
        assert _convert(source, "--as", "local/mine", "--link", "--json") == 0
        document = json.loads(capsys.readouterr().out)
        assert document["version"] == 1
        found += document["datasets"]
    assert [record["written"] for record in found] == [45, 0]
    assert found[0]["name"] == "local/mine"
    assert found[0]["splits"] == {"train": 18, "val": 2, "test": 20}
    assert found[0]["kind"] == "folders"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--as", "mine"], "--to DIR is missing"),
        (["--to", "data"], "--as NAME is missing"),
        (["--to", "data", "--as", "vtab1k/dtd"], "a set of your own is local/NAME"),
        (["--to", "data", "--as", "mine", "--from", "tfds"], "dataset_info.json cannot be read"),
        (["--to", "data", "--as", "mine", "--from", "parquet"], "there is no file of rows"),
        (["--to", "data", "--as", "mine", "--from", "vpt"], "train.json cannot be read"),
        (["--to", "data", "--as", "mine", "--from", "kvasir"], "there are no folders images and masks"),
        (["--to", "data", "--as", "mine", "--from", "vtab"], "holds several tasks"),
        (["--to", "data", "--from", "vtab"], "holds no task"),
        (["--to", "data", "--as", "mine", "--from", "list"], "there is no train.txt"),
        (["--to", "data", "--as", "mine", "--from", "torchvision"], "holds no files of a class that is known"),
    ],
)
def test_what_cannot_be_is_a_message_and_exit_code_two(source, tmp_path, capsys, words, said):
    assert _convert(source, *words) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert not (tmp_path / "data").exists()


def test_a_file_that_no_list_or_table_is_where_a_folder_is_meant(source, tmp_path, capsys):
    for kind in ("folders", "tfds", "vtab", "vpt", "kvasir", "torchvision", "parquet", "list"):
        image = source / "test" / "dark" / "0.png"
        assert _convert(image, "--to", tmp_path / "data", "--as", "mine", "--from", kind) == 2
        assert capsys.readouterr().err


def test_a_file_system_that_takes_no_more_is_told_and_the_same_command_goes_on(tmp_path, capsys):
    """The limit on the size of files stands for a full disk: the system itself refuses the write."""
    source = draw(tmp_path / "large", each=2, size=20)
    (source / "train" / "dark" / "9.png").write_bytes(os.urandom(300_000))
    words = ["data", "convert", str(source), "--to", str(tmp_path / "data"), "--as", "mine"]
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from orchestrator.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "is not complete, what is written stays; the same command goes on from there" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "mine" / "test.txt").exists()
    assert main(words) == 0
    copied = tmp_path / "data" / "mine" / "images" / "train" / "dark" / "9.png"
    assert copied.read_bytes() == (source / "train" / "dark" / "9.png").read_bytes()
