"""How many slots of a shape a cluster holds, and what it says of shapes that never fit. No Ray runs here."""

import doctest

import pytest

from workers.pools import ray_shapes
from workers.pools.protocol import Request
from workers.pools.ray_shapes import Node, memory_share_mib, slots_in, why_infeasible

SMALL = Node("small", {"CPU": 4.0, "memory": 1e9})
BIG = Node("big", {"CPU": 16.0, "GPU": 2.0})
GIB = 2.0**30
ROOMY = Node("roomy", {"CPU": 8.0, "memory": 32 * GIB})
TIGHT = Node("tight", {"CPU": 8.0, "memory": 6 * GIB})


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


@pytest.mark.parametrize(("mem_gib", "slots"), [(0, 16), (0.5, 16), (1, 14), (4, 9), (7, 4), (33, 0)])
def test_a_node_holds_no_more_slots_than_its_memory(mem_gib, slots):
    asked = Request(mem_mib=mem_gib * 1024)
    assert slots_in([ROOMY, TIGHT], asked) == slots
    assert (why_infeasible([ROOMY, TIGHT], asked) is None) == (slots > 0)


def test_memory_that_no_node_has_is_answered_with_the_most_that_one_has():
    odd = Node("odd", {"CPU": 2.0, "memory": 5.999 * GIB})
    text = str(why_infeasible([odd], Request(cpus=2, mem_mib=6 * 1024)))
    assert "no node can give cpus: 2, memory_gib: 6 to one job" in text
    assert "the nearest that fits is cpus: 2, memory_gib: 5.99 (node odd)" in text


def test_a_slots_share_of_memory_fits_beside_all_others_on_every_node():
    share_mib = memory_share_mib([ROOMY, TIGHT], Request(cpus=2))
    assert share_mib == 6 * 1024 / 4
    assert slots_in([ROOMY, TIGHT], Request(cpus=2, mem_mib=share_mib)) == slots_in([ROOMY, TIGHT], Request(cpus=2))


def test_a_cluster_without_a_living_node_says_so():
    assert "no node of the cluster is alive" in str(why_infeasible([], Request()))


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(ray_shapes).failed == 0
