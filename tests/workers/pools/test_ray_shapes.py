"""How many slots of a shape a cluster holds, and what it says of shapes that never fit. No Ray runs here."""

import doctest

import pytest

from workers.pools import ray_shapes
from workers.pools.protocol import Request
from workers.pools.ray_shapes import Node, slots_in, why_infeasible

SMALL = Node("small", {"CPU": 4.0, "memory": 1e9})
BIG = Node("big", {"CPU": 16.0, "GPU": 2.0})


@pytest.mark.parametrize(
    ("request_", "slots"),
    [
        (Request(cpus=1), 20),
        (Request(cpus=3), 6),
        (Request(cpus=0.5), 40),
        (Request(cpus=2, gpus=0.5), 4),
        (Request(cpus=1, gpus=0.4), 4),  # two to a device, and a fifth of each is left over
        (Request(cpus=1, gpus=0.1), 16),
        (Request(cpus=1, gpus=2), 1),
        (Request(cpus=1, gpus=1.5), 0),  # parts of two devices are given to nobody
        (Request(cpus=1, extra={"tpu": 1}), 0),
    ],
)
def test_slots_are_counted_node_by_node_and_device_by_device(request_, slots):
    assert slots_in([SMALL, BIG], request_) == slots
    assert (why_infeasible([SMALL, BIG], request_) is None) == (slots > 0)


@pytest.mark.parametrize(
    ("request_", "nearest"),
    [
        (Request(cpus=32), "cpus: 16 (node big)"),
        (Request(cpus=2, gpus=4), "cpus: 2, gpus: 2 (node big)"),
        (Request(cpus=1, gpus=1.5), "cpus: 1, gpus: 1 (node big)"),
        (Request(cpus=64, gpus=8), "cpus: 16, gpus: 2 (node big)"),
    ],
)
def test_an_impossible_shape_is_answered_with_the_nearest_possible(request_, nearest):
    assert f"the nearest that fits is {nearest}" in str(why_infeasible([SMALL, BIG], request_))


def test_two_nodes_do_not_add_up_to_one_job():
    assert why_infeasible([SMALL, SMALL], Request(cpus=8)) is not None


def test_a_cluster_without_a_living_node_says_so():
    assert "no node of the cluster is alive" in str(why_infeasible([], Request()))


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(ray_shapes).failed == 0
