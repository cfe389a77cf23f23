"""GPS against numbers of the authors' released code (FightingFighting/GPS, 72e0c31) and of its functions run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from methods.gps import GPS
from methods.gps_selection import Rule, flat_positions, nested_orders, part_for, weights_of
from methods.stack import prepare_stack
from methods.supcon import supcon_loss
from methods.testing import TinyData

HERE = Path(__file__).parent
SHARED = HERE.parents[1].parent / "shared" / "oracle"


def oracle(name: str) -> Any:
    path = next((folder / name for folder in (HERE, SHARED) if (folder / name).exists()), None)
    if path is None:
        pytest.skip(f"{name} is not beside the repository (shared/oracle)")
    return np.load(path)


class OracleData(TinyData):
    """The batches of the oracle file, in its order; view 1 is what a single-view pass sees."""

    def __init__(self, numbers: Any) -> None:
        super().__init__()
        self.numbers = numbers

    def two_view_batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for one, two, labels in zip(self.numbers["view1"], self.numbers["view2"], self.numbers["labels"], strict=True):
            assert len(labels) == batch_size
            yield torch.tensor(np.stack([one, two], axis=1)), torch.tensor(labels)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for views, labels in self.two_view_batches(batch_size):
            yield views[:, 0], labels


def oracle_vit(numbers: Any) -> VisionTransformer:
    model = VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=5)
    parameters = {key.removeprefix("param/"): torch.tensor(numbers[key]) for key in numbers.files if "param/" in key}
    model.load_state_dict(parameters, strict=True)
    return model


def test_supcon_and_its_gradient_equal_the_release():
    numbers = oracle("supcon.npz")
    features = torch.tensor(numbers["features"], requires_grad=True)
    loss = supcon_loss(features, torch.tensor(numbers["labels"]), float(numbers["temperature"]))
    loss.backward()
    assert loss.item() == pytest.approx(float(numbers["loss"]), rel=1e-5)
    assert features.grad is not None
    assert np.allclose(features.grad.numpy(), numbers["grad"], atol=1e-5)


SINES = torch.sin(torch.arange(24, dtype=torch.float32)).reshape(4, 2, 3)


@pytest.mark.parametrize(
    ("features", "labels", "expected"),
    [
        (SINES, [0, 0, 1, 2], 23.5593777),
        (SINES, [0, 1, 2, 3], 28.2965679),  # no shared label: SimCLR
        (torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(123)), [0, 0, 1, 2], 12.2340126),
    ],
)
def test_supcon_equals_the_loss_the_release_computed(features: Tensor, labels: list[int], expected: float):
    assert supcon_loss(features, torch.tensor(labels), 0.07).item() == pytest.approx(expected, rel=1e-5)


def test_the_gradient_of_supcon_has_the_size_the_release_computed():
    features = SINES.clone().requires_grad_()
    supcon_loss(features, torch.tensor([0, 0, 1, 2]), 0.07).backward()
    assert features.grad is not None
    assert features.grad.abs().sum().item() == pytest.approx(7.07194996, rel=1e-5)


def test_supcon_ignores_the_length_of_features_and_the_order_of_views():
    labels, plain = torch.tensor([0, 0, 1, 2]), supcon_loss(SINES, torch.tensor([0, 0, 1, 2]), 0.07).item()
    assert supcon_loss(SINES * 10, labels, 0.07).item() == pytest.approx(plain, rel=1e-5)
    assert supcon_loss(SINES.flip(1), labels, 0.07).item() == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize(
    ("file", "loss"), [("gps_selection_vit.npz", "supcon"), ("gps_selection_vit_ce.npz", "cross_entropy")]
)
def test_the_trained_entries_are_those_of_the_release(file: str, loss: str):
    numbers = oracle(file)
    model = oracle_vit(numbers)
    method = GPS(loss=loss, selection_batch_size=10)
    orders = method.make_artifact("gps_scores", model, OracleData(numbers))
    ks = sorted({int(key.split("/")[1][1:]) for key in numbers.files if key.startswith("trainable/")})
    assert ks
    for k in ks:
        fresh = oracle_vit(numbers)
        chosen = GPS(loss=loss, connections_per_neuron=k, selection_batch_size=10)
        adaptation = prepare_stack([chosen], fresh, TinyData(artifacts={"gps_scores": orders}))
        assert trained_entries(fresh, adaptation.trainable) == {
            name: numbers[f"trainable/K{k}/{name}"].tolist()
            for name in parameter_names(numbers)
            if not name.startswith("head.") and numbers[f"trainable/K{k}/{name}"].size
        }


def trained_entries(model: VisionTransformer, trainable: tuple[str, ...]) -> dict[str, list[int]]:
    """Parameter of the plain model -> flat entries that may move, ascending."""
    found = {}
    for name in trainable:
        if name.endswith(".gps_values"):
            module = name.removesuffix(".gps_values")
            found[f"{module}.weight"] = sorted(model.get_submodule(module).get_buffer("gps_index").tolist())
        else:
            found[name] = list(range(model.get_parameter(name).numel()))
    return found


def parameter_names(numbers: Any) -> list[str]:
    return [key.removeprefix("param/") for key in numbers.files if key.startswith("param/")]


G1 = torch.tensor([[3, -1, 2, 0.5], [0.1, 0.2, -0.3, 0.25], [1, 1, 1, 1]])
G2 = torch.tensor([[-2.5, -1, 1, 0.5], [0.1, 0.2, 0.35, -0.2], [0, 0, 0, 0]])


@pytest.mark.parametrize(("k", "columns"), [(1, [{2}, {1}, {3}]), (2, [{1, 2}, {0, 1}, {2, 3}])])
def test_gradients_are_summed_with_their_sign_and_ties_go_to_the_last_column(k: int, columns: list[set[int]]):
    """Sums of absolute values or squares would give {0}, {2}, {3} for K = 1 (official functions, run on G1 + G2)."""
    order = nested_orders({"w": G1}, lambda _: (G1 + G2).abs(), k)["neuron/w"]
    assert [set(row) for row in order.tolist()] == columns


@pytest.mark.parametrize("shape", [(24, 16), (8, 3, 16, 16), (12, 1, 7, 7), (8, 6, 2, 2)])
@pytest.mark.parametrize("k", [1, 3, 15])
def test_every_row_has_the_k_columns_that_the_release_s_argsort_takes(shape: tuple[int, ...], k: int):
    score = torch.randn(shape, generator=torch.Generator().manual_seed(k)).abs()
    order = nested_orders({"w": score}, lambda _: score, k, ("neuron",))
    flat = flat_positions(part_for(Rule("neuron", k), order, {"w": score}), "neuron", {"w": score})["w"]
    rows = score.flatten(1)
    official = np.argsort(rows.numpy(), axis=1)[:, -k:] + np.arange(len(rows))[:, None] * rows.shape[1]
    assert np.array_equal(flat.numpy(), np.sort(official, axis=1))


def test_weights_of_the_oracle_s_vit_are_nine_matrices_and_no_norm():
    model = VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=5)
    layers = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]
    expected = ["patch_embed.proj.weight", *(f"blocks.{i}.{layer}.weight" for i in range(2) for layer in layers)]
    assert list(weights_of(model)) == expected
