"""Orders of importance: nested, deterministic under ties, equal in number at every level."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from methods.api import MethodError
from methods.gps_selection import Rule, flat_positions, nested_orders, part_for


def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a": torch.rand(6, 10, generator=generator), "b": torch.rand(4, 3, generator=generator)}


def chosen(
    level: str, k: int, scores: dict[str, Tensor], excluded: frozenset[str] = frozenset()
) -> set[tuple[str, int]]:
    orders = nested_orders(scores, scores.__getitem__, 8)
    part = part_for(Rule(level, k, excluded), orders, scores)
    return {(name, int(i)) for name, flat in flat_positions(part, level, scores).items() for i in flat.flatten()}


@pytest.mark.parametrize("level", ["neuron", "layer", "net"])
def test_the_choice_for_k_is_part_of_the_choice_for_the_next_k(level: str):
    for k in range(1, 8):
        assert chosen(level, k, weights()) < chosen(level, k + 1, weights())


@pytest.mark.parametrize("k", [1, 3, 8])
def test_every_level_chooses_equally_many(k: int):
    assert {len(chosen(level, k, weights())) for level in ("neuron", "layer", "net")} == {6 * k + 4 * min(k, 3)}


def test_net_takes_the_largest_of_all_weights_together():
    scores = weights()
    everything = torch.cat([score.flatten() for score in scores.values()])
    top = set(everything.topk(10).indices.tolist())
    found = {i if name == "a" else i + 60 for name, i in chosen("net", 1, scores)}
    assert found == top


def test_rows_of_zeros_give_their_last_columns():
    scores = {"a": torch.zeros(3, 5)}
    assert chosen("neuron", 2, scores) == {("a", i) for i in (3, 4, 8, 9, 13, 14)}
    assert chosen("net", 1, {"a": torch.zeros(2, 2), "b": torch.zeros(1, 3)}) == {("b", 0), ("b", 1), ("b", 2)}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1e-38, 0.5, 0.50000006, 3e38]), min_size=1, max_size=30), st.data())
def test_the_largest_come_first_and_of_equal_ones_the_last(values: list[float], data: st.DataObject):
    n = data.draw(st.integers(1, len(values)))
    score = {"w": torch.tensor([values])}
    values = score["w"][0].tolist()
    expected = sorted(range(len(values)), key=lambda i: (-values[i], -i))[:n]
    orders = nested_orders(score, score.__getitem__, n)
    assert orders["neuron/w"][0].tolist() == expected
    assert orders["layer/w"].tolist() == expected
    assert orders["net"].tolist() == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=6))
def test_the_net_order_is_that_of_all_layers_laid_end_to_end(layers: list[list[int]]):
    scores = {str(i): torch.tensor(layer, dtype=torch.float32).view(2, 2) for i, layer in enumerate(layers)}
    flat = [value for layer in layers for value in layer]
    expected = sorted(range(len(flat)), key=lambda i: (-flat[i], -i))[: 2 * len(layers)]
    assert nested_orders(scores, scores.__getitem__, 1)["net"].tolist() == expected


def test_excluded_weights_are_chosen_from_at_no_level():
    for level in ("neuron", "layer", "net"):
        found = chosen(level, 2, weights(), frozenset({"a"}))
        assert len(found) == 4 * 2
        assert {name for name, _ in found} == {"b"}


def test_scores_that_are_not_finite_are_an_error():
    with pytest.raises(MethodError, match="not finite"):
        nested_orders(weights(), lambda name: weights()[name] / 0.0, 1)


def test_scores_of_another_backbone_are_an_error():
    orders = nested_orders(weights(), weights().__getitem__, 2)
    with pytest.raises(MethodError, match="do not fit this backbone"):
        part_for(Rule("neuron", 1), orders, {"c": torch.zeros(2, 2)})


def test_columns_are_stored_in_two_bytes():
    orders = nested_orders(weights(), weights().__getitem__, 2)
    assert orders["neuron/a"].dtype == torch.int16
