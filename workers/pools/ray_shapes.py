"""Which shapes of slot a cluster can give, and how many of each. Arithmetic only; knows no Ray."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from workers.pools.protocol import Request

_ROUNDING = 1e-6
_MIB = 2**20
_GIB = 2**30


@dataclass(frozen=True)
class Node:
    """A living node and all its resources (`CPU`, `GPU`, `memory` in bytes, and custom ones), free or not."""

    name: str
    resources: Mapping[str, float]


def asked(request: Request) -> dict[str, float]:
    """The request in Ray's words, without what it asks nothing of.

    >>> asked(Request(cpus=2, gpus=0, extra={"tpu": 1}))
    {'CPU': 2, 'tpu': 1}
    """
    wanted = {"CPU": request.cpus, "GPU": request.gpus, **request.extra, "memory": request.mem_mib * _MIB}
    return {name: amount for name, amount in wanted.items() if amount > 0}


def slots_on(node: Node, request: Request) -> int:
    """How many slots of this shape the node holds at once. A part of a GPU never spans two devices.

    >>> slots_on(Node("n", {"CPU": 8, "GPU": 2}), Request(cpus=1, gpus=0.4))
    4
    """
    counts = [_count(node.resources.get(name, 0.0), name, amount) for name, amount in asked(request).items()]
    return min(counts, default=0)


def _count(here: float, name: str, amount: float) -> int:
    if name == "GPU" and amount < 1:
        return int(here) * math.floor(1 / amount + _ROUNDING)
    if name == "GPU" and amount != int(amount):
        return 0
    return math.floor(here / amount + _ROUNDING)


def slots_in(nodes: Iterable[Node], request: Request) -> int:
    """How many slots of this shape all nodes hold at once."""
    return sum(slots_on(node, request) for node in nodes)


def memory_share_mib(nodes: Iterable[Node], request: Request) -> float:
    """What a slot of this shape may have of its node's memory when the node is full of them; the least of all nodes.

    >>> memory_share_mib([Node("n", {"CPU": 8, "memory": 16 * 2**30}), Node("m", {"CPU": 2})], Request(cpus=2))
    0
    >>> memory_share_mib([Node("n", {"CPU": 8, "memory": 16 * 2**30})], Request(cpus=2))
    4096
    """
    counts = [(node.resources.get("memory", 0.0), slots_on(node, replace(request, mem_mib=0))) for node in nodes]
    return min((math.floor(memory / count / _MIB) for memory, count in counts if count), default=0)


def why_infeasible(nodes: Iterable[Node], request: Request) -> str | None:
    """None when some node can hold a slot of this shape; else why not, and the nearest shape that fits."""
    alive = list(nodes)
    if any(slots_on(node, request) for node in alive):
        return None
    if not alive:
        return f"no node of the cluster is alive to give {_words(asked(request))}"
    node, shape = min(((node, _nearest(node, request)) for node in alive), key=lambda pair: _missing(pair[1], request))
    return (
        f"no node can give {_words(asked(request))} to one job; the nearest that fits is {_words(shape)} "
        f"(node {node.name}): change `resources` in the spec, or name a larger cluster"
    )


def _nearest(node: Node, request: Request) -> dict[str, float]:
    shape = {name: min(amount, node.resources.get(name, 0.0)) for name, amount in asked(request).items()}
    if shape.get("GPU", 0.0) > 1:
        shape["GPU"] = float(math.floor(shape["GPU"]))
    return shape


def _missing(shape: Mapping[str, float], request: Request) -> float:
    """How far a shape falls short: the sum over resources of the missing fraction."""
    return sum(1 - shape[name] / amount for name, amount in asked(request).items())


def _words(resources: Mapping[str, float]) -> str:
    spec_names = {"CPU": "cpus", "GPU": "gpus"}
    words = [f"{spec_names.get(name, name)}: {amount:g}" for name, amount in resources.items() if name != "memory"]
    if "memory" in resources:  # rounded down: what is named as fitting shall fit
        words.append(f"memory_gib: {math.floor(resources['memory'] / _GIB * 100 + _ROUNDING) / 100:g}")
    return ", ".join(words) or "nothing"
