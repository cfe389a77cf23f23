"""Plans: where a weights file that the spec names is looked for."""

import argparse
import hashlib
from pathlib import Path

import pytest

from orchestrator.catalogue import installed_catalogue
from orchestrator.commands import plan as command
from orchestrator.plan import Plan, plan
from orchestrator.spec import parse_spec


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """An empty folder each for the spec, the weights and the cache."""
    made = {name: tmp_path / name for name in ("spec", "weights", "cache")}
    for folder in made.values():
        folder.mkdir()
    return made


def planned(folders: dict[str, Path], weights: str, *, with_root: bool = True) -> Plan:
    text = f"name: x\ndatasets: [embedded/digits]\nbackbones: [{{name: nano_vit, weights: {weights}}}]\nmethods: [lora]"
    root = folders["weights"] if with_root else None
    catalogue = installed_catalogue(None, folders["cache"], weights_root=root)
    return plan(parse_spec(text, folder=folders["spec"]), catalogue)


def test_a_bare_name_is_found_in_the_folder_of_weights(folders: dict[str, Path]) -> None:
    file = folders["weights"] / "mine.safetensors"
    file.write_bytes(b"there")
    made = planned(folders, "mine.safetensors")
    assert made.weights == {hashlib.sha256(b"there").hexdigest(): file}


def test_a_file_beside_the_spec_comes_first(folders: dict[str, Path]) -> None:
    for name in ("spec", "weights"):
        (folders[name] / "mine.safetensors").write_bytes(name.encode())
    made = planned(folders, "mine.safetensors")
    assert made.weights == {hashlib.sha256(b"spec").hexdigest(): folders["spec"] / "mine.safetensors"}


def test_a_path_with_a_folder_is_looked_for_beside_the_spec_only(folders: dict[str, Path]) -> None:
    (folders["weights"] / "mine.safetensors").write_bytes(b"there")
    (message,) = planned(folders, "./sub/mine.safetensors").missing
    assert str(folders["spec"] / "sub" / "mine.safetensors") in message
    assert "SWEEPBOARD_WEIGHTS" not in message


def test_a_bare_name_that_is_nowhere_is_answered_with_both_places(folders: dict[str, Path]) -> None:
    (message,) = planned(folders, "mine.safetensors").missing
    assert str(folders["spec"] / "mine.safetensors") in message
    assert message.endswith(f". Looked in SWEEPBOARD_WEIGHTS too, the folder {folders['weights']}")


def test_without_the_folder_the_answer_says_that_it_can_be_set(folders: dict[str, Path]) -> None:
    (message,) = planned(folders, "mine.safetensors", with_root=False).missing
    assert message.endswith(". Looked in SWEEPBOARD_WEIGHTS too, which is not set")


@pytest.mark.parametrize("weights", ["default", "random"])
def test_words_for_weights_are_no_file_names(folders: dict[str, Path], weights: str) -> None:
    (folders["weights"] / weights).write_bytes(b"no weights")
    made = planned(folders, weights)
    assert (made.weights, made.missing) == ({}, ())


def test_the_variable_names_the_folder(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folders["weights"] / "mine.safetensors").write_bytes(b"there")
    spec = folders["spec"] / "spec.yaml"
    spec.write_text(
        "name: x\ndatasets: [embedded/digits]\nmethods: [lora]\n"
        "backbones: [{name: nano_vit, weights: mine.safetensors}, {name: pico_vit, weights: gone.safetensors}]\n"
    )
    monkeypatch.setenv("SWEEPBOARD_WEIGHTS", str(folders["weights"]))
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    args = parser.parse_args(["plan", str(spec), "--home", str(folders["cache"])])
    assert args.run(args) == 0
    shown = capsys.readouterr().out
    assert f"too, the folder {folders['weights']}" in shown
    assert "mine.safetensors" not in shown
