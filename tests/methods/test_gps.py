"""GPS keeps the contract at every level and for every criterion, and trains what the paper's release trains."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.api import Adaptation, Method, MethodError, MissingArtifact
from methods.compact import CompactConv2d, CompactLinear
from methods.gps import GPS
from methods.gps_selection import eligible
from methods.stack import merge_stack, prepare_stack
from methods.testing import DECAYING, MethodContract, Run, TinyData, outputs, tiny_vit

ROWS = 2 * (48 + 16 + 64 + 16) + 16  # of tiny_vit: qkv, proj, fc1, fc2 in two blocks, and the patch embedding
SCALES = 2 * 2 * 16  # LayerScale, trained whole
PATCH_COLUMNS = 48


class GPSContract(MethodContract):
    """The selected entries of a weight may move, the others may not."""

    def untouched(self, model: nn.Module, adaptation: Adaptation) -> dict[str, Tensor]:
        values = super().untouched(model, adaptation)
        for name, module in eligible(model).items():
            if isinstance(module, CompactLinear | CompactConv2d):
                values[name] = values[name].flatten().index_fill(0, module.gps_index, 0.0)
        return values


class TestGPS(GPSContract):
    method: Method = GPS(selection_batch_size=8)
    trained_params = ROWS * 2 + SCALES


class TestGPSWithThreeConnections(GPSContract):
    method: Method = GPS(connections_per_neuron=3, selection_batch_size=8, loss="cross_entropy")
    trained_params = ROWS * 4 + SCALES


class TestGPSLevelLayer(GPSContract):
    method: Method = GPS(level="layer", selection_batch_size=8)
    trained_params = ROWS * 2 + SCALES


class TestGPSLevelNet(GPSContract):
    method: Method = GPS(level="net", connections_per_neuron=2, selection_batch_size=8)
    trained_params = ROWS * 3 + SCALES


class TestGPSByMagnitude(GPSContract):
    method: Method = GPS(criterion="magnitude")
    trained_params = ROWS * 2 + SCALES


class TestGPSAtRandom(GPSContract):
    method: Method = GPS(criterion="random", level="net")
    trained_params = ROWS * 2 + SCALES


class TestGPSWithoutBlockOne(GPSContract):
    method: Method = GPS(exclude_blocks=(1,), selection_batch_size=8)
    trained_params = (48 + 16 + 64 + 16 + 16) * 2 + 2 * 16


def scored(method: GPS, model: nn.Module | None = None, seed: int = 0) -> TinyData:
    scores = method.make_artifact("gps_scores", model or tiny_vit(), TinyData(seed))
    return TinyData(seed, artifacts={"gps_scores": scores})


def test_norms_position_and_class_token_are_frozen_and_every_other_bias_is_trained():
    adaptation = prepare_stack([GPS(selection_batch_size=8)], tiny_vit(), scored(GPS(selection_batch_size=8)))
    layers = ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]
    prefixes = ["patch_embed.proj", *(f"blocks.{i}.{layer}" for i in range(2) for layer in layers)]
    expected = {f"{prefix}.{part}" for prefix in prefixes for part in ("gps_values", "bias")}
    expected |= {f"blocks.{i}.ls{j}.gamma" for i in range(2) for j in (1, 2)}
    assert set(adaptation.trainable) == expected


@pytest.mark.parametrize("k", [1, 3])
def test_compact_adam_gives_the_values_of_adam_with_masked_dense_gradients(k: int):
    method = GPS(connections_per_neuron=k, selection_batch_size=8)
    data = scored(method)
    compact, dense = tiny_vit(), tiny_vit()
    adaptation = prepare_stack([method], compact, data)
    layers = {name: module for name, module in eligible(compact).items()}
    masks = {
        n: torch.zeros_like(m.weight).flatten().index_fill(0, m.gps_index, 1.0).view_as(m.weight)
        for n, m in layers.items()
    }
    trained_whole = {name for name in adaptation.trainable if not name.endswith("gps_values")} | {
        "head.weight",
        "head.bias",
    }
    optimizers = [torch.optim.Adam([p for p in m.parameters() if p.requires_grad], lr=1e-3) for m in (compact, dense)]
    for images, labels in [batch for _ in range(4) for batch in TinyData(3).batches(8)]:
        for model, optimizer in zip((compact, dense), optimizers, strict=True):
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            for name, parameter in model.named_parameters() if model is dense else ():
                if name not in trained_whole:
                    parameter.grad *= masks.get(name, torch.zeros(()))
            optimizer.step()
    outputs(compact)
    plain = dict(dense.named_parameters())
    # qkv.bias holds the keys' third, whose gradient is rounding noise (soft-max is shift invariant) that Adam
    # normalises; a step is lr = 1e-3, so 1e-5 tells every other kind of difference.
    for name, module in layers.items():
        close = (module.weight - plain[name]).abs() < 1e-5
        assert close.float().mean() == 1.0, name


@pytest.mark.parametrize("optimizer", DECAYING)
def test_unselected_weights_stay_bit_identical_under_weight_decay(optimizer: str):
    run = Run(GPS(selection_batch_size=8), scored(GPS(selection_batch_size=8)), optimizer)
    for _ in range(5):
        run.step()
    merged = merge_stack([run.method], run.model)
    plain = weights(tiny_vit())
    for name, weight in weights(merged).items():
        changed = (weight != plain[name]).flatten(1).sum(1)
        assert changed.tolist() == [1] * len(weight), name


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: module.get_parameter("weight").detach() for name, module in eligible(model).items()}


def test_scoring_changes_neither_weights_nor_flags_nor_mode_nor_the_random_state():
    model = tiny_vit(drop_path_rate=0.5).eval()
    model.norm.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    GPS(selection_batch_size=8).make_artifact("gps_scores", model, TinyData())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == ["norm.weight"]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.training


def test_scoring_is_repeatable_and_drop_path_acts_in_it():
    def orders(rate: float, disturbance: int) -> Tensor:
        torch.manual_seed(disturbance)
        model = tiny_vit(drop_path_rate=rate)
        return GPS(selection_batch_size=8).make_artifact("gps_scores", model, TinyData())["net"]

    assert torch.equal(orders(0.5, 0), orders(0.5, 99))
    assert not torch.equal(orders(0.5, 0), orders(0.0, 0))


def test_the_head_s_start_matters_to_cross_entropy_and_not_to_the_contrastive_loss():
    def orders(loss: str, shift: float) -> Tensor:
        model = tiny_vit()
        with torch.no_grad():
            model.head.weight += shift * torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
        return GPS(loss=loss, selection_batch_size=8).make_artifact("gps_scores", model, TinyData())["net"]

    assert torch.equal(orders("supcon", 0.0), orders("supcon", 1.0))
    assert not torch.equal(orders("cross_entropy", 0.0), orders("cross_entropy", 1.0))


def test_one_artifact_serves_every_k_and_level():
    data = scored(GPS(selection_batch_size=8))
    for level in ("neuron", "layer", "net"):
        for k in (1, 7, 20):
            adaptation = prepare_stack([GPS(level=level, connections_per_neuron=k)], tiny_vit(), data)
            assert sum(order.numel() for order in adaptation.carried["gps_scores"].values()) == selected_count(k)


def selected_count(k: int) -> int:
    wide = ROWS - 16 - 2 * 16  # rows of 16 columns: all but the patch embedding (48) and fc2 (64)
    return wide * min(k, 16) + 48 * k


def test_k_above_a_row_s_length_takes_the_whole_row():
    model = tiny_vit()
    prepare_stack([GPS(connections_per_neuron=20, criterion="magnitude")], model, TinyData())
    assert tuple(model.blocks[0].attn.qkv.gps_values.shape) == (48, 16)
    assert tuple(model.patch_embed.proj.gps_values.shape) == (16, 20)


def test_net_says_so_when_excluded_blocks_leave_too_few_stored_connections():
    data = scored(GPS(selection_batch_size=8))
    short = {"gps_scores": {"net": data.artifacts["gps_scores"]["net"][:100]}}
    with pytest.raises(MethodError, match="lower connections_per_neuron"):
        prepare_stack([GPS(level="net")], tiny_vit(), TinyData(artifacts=short))


def test_excluding_block_one_leaves_blocks_ten_and_eleven_in():
    method = GPS(criterion="magnitude", exclude_blocks=(1,))
    adaptation = prepare_stack([method], tiny_vit(depth=12), TinyData())
    trained = {name.split(".")[1] for name in adaptation.trainable if name.startswith("blocks.")}
    assert trained == {str(number) for number in range(12)} - {"1"}


def test_a_block_that_does_not_exist_is_refused():
    with pytest.raises(MethodError, match="blocks 0 to 1"):
        prepare_stack([GPS(criterion="magnitude", exclude_blocks=(2,))], tiny_vit(), TinyData())


def test_gradient_selection_without_scores_is_a_missing_artifact():
    with pytest.raises(MissingArtifact):
        prepare_stack([GPS()], tiny_vit(), TinyData())


def test_scoring_without_one_complete_batch_is_an_error():
    with pytest.raises(MethodError, match="no complete batch of 32"):
        GPS().make_artifact("gps_scores", tiny_vit(), TinyData())


def test_magnitude_ignores_the_data_and_random_does_not():
    def carried(criterion: str, seed: int) -> dict[str, Tensor]:
        method = GPS(criterion=criterion)
        return dict(prepare_stack([method], tiny_vit(), TinyData(seed)).carried["gps_scores"])

    def same(criterion: str) -> bool:
        one, two = carried(criterion, 0), carried(criterion, 1)
        return all(torch.equal(one[name], two[name]) for name in one)

    assert same("magnitude")
    assert not same("random")


def test_random_selection_takes_distinct_columns_of_every_row_uniformly():
    model = tiny_vit(embed_dim=32)
    part = prepare_stack([GPS(criterion="random", connections_per_neuron=8)], model, TinyData()).carried["gps_scores"]
    columns = part["neuron/blocks.0.attn.qkv.weight"]
    assert all(len(set(row)) == 8 for row in columns.tolist())
    share = columns.to(torch.int64).flatten().bincount(minlength=32) / len(columns)
    assert float(share.min()) > 0.05
    assert float(share.max()) < 0.5
