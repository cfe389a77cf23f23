"""Which connections GPS trains (GPS, CVPR 2024, section 3.2): eligibility, nested orders of importance, selection.

An *order* lists positions from the most important on, so that the choice for K is a prefix of the choice for K + 1
and one order serves every K. Ties are broken by position, the last one first, as the release's argsort does for
rows that are all zero; nothing here depends on the device or on chance.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from timm.layers.layer_scale import LayerScale
from timm.layers.norm import LayerNorm2d
from timm.models.convnext import ConvNeXtBlock
from timm.models.swin_transformer import WindowAttention
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

from methods.api import MethodError
from methods.surgery import modules_outside_head, transformer_blocks

LEVELS = ("neuron", "layer", "net")
K_MAX = 20
"""The largest K of the release's scripts (NABirds); stored orders end there."""

Orders = dict[str, Tensor]
"""`neuron/<weight>`: columns (rows, K); `layer/<weight>`: flat positions; `net`: positions in all eligible weights
laid end to end in the model's order. K above a row's length stops there; the three levels agree in number."""

_POSITION = 2**32 - 1  # the lower half of a key

_FULLY_TRAINED = ((LayerScale, "gamma"), (ConvNeXtBlock, "gamma"), (WindowAttention, "relative_position_bias_table"))


@dataclass(frozen=True)
class Rule:
    """What to take from the orders; `excluded` are names of weights that stay as they are."""

    level: str
    k: int
    excluded: frozenset[str] = frozenset()


def eligible(model: nn.Module) -> dict[str, nn.Module]:
    """Full name of the weight -> its module, for every linear and convolution outside the head.

    By type, not by name: norms, position and class tokens are neither, whatever they are called.
    """
    layers = (
        (name, module) for name, module in modules_outside_head(model) if isinstance(module, nn.Linear | nn.Conv2d)
    )
    return {f"{name}.weight": module for name, module in layers}


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The eligible weights by full name, in the model's order."""
    return {name: module.get_parameter("weight") for name, module in eligible(model).items()}


def fully_trained(model: nn.Module, exclude_blocks: Collection[int] = ()) -> list[nn.Parameter]:
    """Biases of eligible layers, layer scales and Swin's bias tables: the release trains them whole."""
    excluded = _modules_of_blocks(model, exclude_blocks)
    found = []
    for _, module in modules_outside_head(model):
        if id(module) in excluded:
            continue
        if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            found.append(module.bias)
        found += [getattr(module, name) for kind, name in _FULLY_TRAINED if isinstance(module, kind)]
    return [parameter for parameter in found if isinstance(parameter, nn.Parameter)]


def neck_norm_biases(model: nn.Module) -> list[nn.Parameter]:
    """Biases of the two norms in the neck of SAM's encoder. The release tells norms by the word in a parameter's name,
    and these are called `neck.1` and `neck.3`: their biases are trained there, their weights are not."""
    encoders = [module for module in model.modules() if isinstance(module, VisionTransformerSAM)]
    return [part.bias for encoder in encoders for part in encoder.neck if isinstance(part, LayerNorm2d)]


def weights_in_blocks(model: nn.Module, blocks: Collection[int]) -> frozenset[str]:
    """Eligible weights of the blocks with exactly these numbers. Raises MethodError for a number that no block has."""
    excluded = _modules_of_blocks(model, blocks)
    return frozenset(name for name, module in eligible(model).items() if id(module) in excluded)


def _modules_of_blocks(model: nn.Module, numbers: Collection[int]) -> set[int]:
    if not numbers:
        return set()
    blocks = transformer_blocks(model)
    wrong = sorted(number for number in numbers if not 0 <= number < len(blocks))
    if wrong:
        raise MethodError(
            f"exclude_blocks names block {wrong[0]}; {type(model).__name__} has blocks 0 to {len(blocks) - 1}"
        )
    return {id(module) for number in numbers for module in blocks[number].modules()}


def nested_orders(
    weights: Mapping[str, Tensor],
    score_of: Callable[[str], Tensor],
    k: int = K_MAX,
    levels: Collection[str] = LEVELS,
) -> Orders:
    """The orders up to K = k. `score_of(name)` gives importances (finite, >= 0) in the weight's shape; asked once.

    One layer's scores are in memory at a time, besides the net's best so far (k per row of the network).
    """
    orders: Orders = {}
    wanted, offset = sum(quota(weight, k) for weight in weights.values()), 0
    best = torch.empty(0, dtype=torch.int64)
    for name, weight in weights.items():
        score = score_of(name).flatten(1)
        if not bool(torch.isfinite(score).all()):
            raise MethodError(f"GPS: the scores of {name} are not finite; the scoring pass overflowed or saw NaN")
        if "neuron" in levels:
            columns = _top(_keys(score), min(k, score.shape[1])) & _POSITION
            orders[f"neuron/{name}"] = _narrow(columns, score.shape[1])
        if "layer" in levels:
            positions = _top(_keys(score.flatten()), quota(weight, k)) & _POSITION
            orders[f"layer/{name}"] = _narrow(positions, score.numel())
        if "net" in levels:
            best = _top(torch.cat([best.to(score.device), _keys(score.flatten(), offset)]), wanted)
        offset += score.numel()
    if "net" in levels:
        orders["net"] = _narrow(best & _POSITION, offset)
    return orders


def arbitrary_orders(weights: Mapping[str, Tensor], level: str, k: int) -> Orders:
    """Orders of one level that nothing has scored: the first columns of every row, up to K = k.

    For counting what a selection costs; only the weights' shapes are read. At level `net` the first columns of all
    rows come first, then the second ones, so that every prefix spreads over all weights.
    """
    orders: Orders = {}
    positions, columns, offset = [], [], 0
    for name, weight in weights.items():
        rows, length = weight.shape[0], weight[0].numel()
        chosen = torch.arange(min(k, length)).repeat(rows, 1)
        flat = chosen + torch.arange(rows)[:, None] * length
        if level == "neuron":
            orders[f"neuron/{name}"] = _narrow(chosen, length)
        elif level == "layer":
            orders[f"layer/{name}"] = _narrow(flat.flatten(), weight.numel())
        positions.append(flat.flatten() + offset)
        columns.append(chosen.flatten())
        offset += weight.numel()
    if level == "net":
        orders["net"] = _narrow(torch.cat(positions)[torch.cat(columns).argsort(stable=True)], offset)
    return orders


def quota(weight: Tensor, k: int) -> int:
    """How many entries of this weight K connections per neuron are; a row shorter than K gives all it has."""
    return weight.shape[0] * min(k, weight[0].numel())


def _keys(score: Tensor, offset: int = 0) -> Tensor:
    """Integers in the order of (score, position along the last dimension), so that no two are equal; int64.

    The bits of a float32 that is not negative, read as an integer, are in the order of the floats.
    """
    bits = score.to(torch.float32).contiguous().view(torch.int32).to(torch.int64)
    return (bits << 32) | torch.arange(offset, offset + score.shape[-1], device=score.device)


def _top(keys: Tensor, n: int) -> Tensor:
    """The n largest keys along the last dimension, or all there are, largest first."""
    return keys.topk(min(n, keys.shape[-1]), sorted=True).values


def _narrow(positions: Tensor, size: int) -> Tensor:
    """On the CPU, in the smallest integer type that holds positions below `size`."""
    fitting = (kind for kind in (torch.int16, torch.int32, torch.int64) if size - 1 <= torch.iinfo(kind).max)
    return positions.to(device="cpu", dtype=next(fitting))


def part_for(rule: Rule, orders: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Orders:
    """The part of the orders that the rule uses; a delta carries it, and it gives itself again.

    Raises MethodError when the orders are of another backbone or end too early.
    """
    included = {name: weight for name, weight in weights.items() if name not in rule.excluded}
    try:
        if rule.level == "neuron":
            part = {
                f"neuron/{name}": orders[f"neuron/{name}"][:, : min(rule.k, weight[0].numel())]
                for name, weight in included.items()
            }
        elif rule.level == "layer":
            part = {
                f"layer/{name}": orders[f"layer/{name}"][: quota(weight, rule.k)] for name, weight in included.items()
            }
        else:
            part = {"net": _without(rule.excluded, orders["net"], weights)}
            part["net"] = part["net"][: sum(quota(weight, rule.k) for weight in included.values())]
    except KeyError as error:
        raise MethodError(f"the GPS scores do not fit this backbone: they have no {error}") from error
    wanted, found = sum(quota(weight, rule.k) for weight in included.values()), sum(map(torch.numel, part.values()))
    if found != wanted:
        raise MethodError(
            f"GPS wants {wanted} connections at level {rule.level!r}, K = {rule.k}, but the stored order has {found} "
            "outside the excluded blocks; lower connections_per_neuron or choose level 'layer'"
        )
    return {name: order.clone() for name, order in part.items()}


def flat_positions(part: Mapping[str, Tensor], level: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weight name -> flat positions to train, int64: (rows, K) for level neuron, else (n,) ascending; no empty ones."""
    if level == "net":
        return _split_net(part["net"].to(torch.int64), weights)
    found = {}
    for name, weight in weights.items():
        order = part.get(f"{level}/{name}")
        if order is None:
            continue
        if level == "neuron":
            starts = torch.arange(weight.shape[0])[:, None] * weight[0].numel()
            found[name] = (order.to(torch.int64) + starts).sort(dim=1).values
        else:
            found[name] = order.to(torch.int64).sort().values
    return found


def _split_net(order: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    positions, found, start = order.sort().values, {}, 0
    for name, weight in weights.items():
        inside = positions[(positions >= start) & (positions < start + weight.numel())] - start
        if len(inside):
            found[name] = inside
        start += weight.numel()
    return found


def _without(excluded: Collection[str], order: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    kept, start = torch.ones(len(order), dtype=torch.bool), 0
    for name, weight in weights.items():
        if name in excluded:
            kept &= (order < start) | (order >= start + weight.numel())
        start += weight.numel()
    return order[kept]
