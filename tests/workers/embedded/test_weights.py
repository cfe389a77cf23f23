import hashlib
import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file

from workers.embedded.architectures import build_embedded
from workers.embedded.catalogue import EMBEDDED

EACH_ARCHITECTURE = pytest.mark.parametrize("architecture", list(EMBEDDED.values()), ids=list(EMBEDDED))


@EACH_ARCHITECTURE
def test_the_shipped_weights_load_strictly(architecture):
    tensors = load_file(architecture.weights)
    build_embedded(architecture.name, num_classes=0).load_state_dict(tensors, strict=True)
    assert all(value.dtype == torch.float16 and value.isfinite().all() for value in tensors.values())


@EACH_ARCHITECTURE
def test_the_shipped_weights_are_what_their_card_says(architecture):
    card = json.loads(architecture.card.read_text())
    assert card["sha256"] == hashlib.sha256(architecture.weights.read_bytes()).hexdigest()
    assert card["parameters"] == sum(value.numel() for value in load_file(architecture.weights).values())
    expected = asdict(architecture) | {"mean": list(architecture.mean), "std": list(architecture.std)}
    assert card["architecture"] == expected
    assert f"pretrain {architecture.name} " in card["command"]


@EACH_ARCHITECTURE
def test_the_shipped_weights_are_small(architecture):
    assert architecture.weights.stat().st_size < 3_000_000
