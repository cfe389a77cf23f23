import hashlib
import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from workers.embedded.architectures import build_embedded
from workers.embedded.pretrain import PretrainRecipe, pretrain, write_weights


def ignore(line: str) -> None:
    pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("weights") / "pico_vit.safetensors"
    recipe = PretrainRecipe("pico_vit", steps=3)
    write_weights(pretrain(recipe, ignore), recipe, out)
    return out


def test_the_command_writes_the_same_bits_in_another_process(trained, tmp_path):
    out = tmp_path / "pico_vit.safetensors"
    command = [sys.executable, "-m", "workers.embedded.pretrain", "pico_vit"]
    options = ["--out", str(out), "--steps", "3"]
    finished = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
    assert out.read_bytes() == trained.read_bytes()
    assert out.with_suffix(".json").read_text() == trained.with_suffix(".json").read_text()
    assert "step 3 loss" in finished.stdout and "images/s" in finished.stdout


def test_the_file_loads_strictly_into_a_backbone_without_head(trained):
    build_embedded("pico_vit", num_classes=0).load_state_dict(load_file(trained), strict=True)


def test_the_card_names_the_bytes_and_the_command(trained):
    card = json.loads(trained.with_suffix(".json").read_text())
    assert card["sha256"] == hashlib.sha256(trained.read_bytes()).hexdigest()
    assert card["command"].endswith("pico_vit --out pico_vit.safetensors --steps 3 --seed 0 --threads 1")
    assert (card["recipe"]["steps"], card["recipe"]["seed"]) == (3, 0)


def test_nothing_partial_is_left_beside_the_weights(trained):
    assert sorted(path.name for path in trained.parent.iterdir()) == ["pico_vit.json", "pico_vit.safetensors"]


def test_another_seed_gives_other_weights_and_the_global_random_state_is_left_alone(trained):
    before = torch.get_rng_state()
    other = pretrain(PretrainRecipe("pico_vit", steps=1, seed=1), ignore)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(other.norm.weight.half(), load_file(trained)["norm.weight"])


def test_training_moves_every_part_of_the_backbone(trained):
    start = pretrain(PretrainRecipe("pico_vit", steps=1, learning_rate=0.0), ignore).state_dict()
    after = load_file(trained)
    assert [name for name, value in start.items() if torch.equal(value.half(), after[name])] == []
