"""How many tokens are removed in each block: published lists, generated lists, and what they cost.

A *schedule* is a tuple of whole numbers, one per block: the tokens removed in that block between attention and MLP
(ToMe, ICLR 2023; PYRA, ECCV 2024, section 3). Prefix tokens (class, distillation) are never removed, and a block
halves the patch tokens at most (bipartite matching pairs each source with one destination). Free of torch: plans
are made with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from math import ceil

from methods.api import BackboneFacts, MethodError
from methods.facts import Value

Schedule = tuple[int, ...]

_VIT_B_HIGH = (40, 34, 30, 24, 18, 14, 10, 8, 4, 4, 3, 3)

LOW: Mapping[tuple[int, int], Schedule] = {
    (12, 197): (16,) * 11 + (10,),
    (24, 197): (8,) * 23 + (6,),
    (12, 198): (16,) * 6 + (10,) * 6,  # distilled DeiT: milder than ViT's, as released
}
"""PYRA's released low rate by (depth, tokens with prefix): about half of the MACs."""

HIGH: Mapping[tuple[int, int], Schedule] = {
    (12, 197): _VIT_B_HIGH,
    (24, 197): (20, 19, 18, 17, 15, 13, 13, 12, 10, 9, 8, 6, 6, 4, 4, 4, 3, 3, 2, 2, 1, 1, 1, 1),
    (12, 198): _VIT_B_HIGH,
}
"""PYRA's released high rate by (depth, tokens with prefix): about the MACs of the next smaller ViT."""

MERGE_RATES: Mapping[str, tuple[Mapping[tuple[int, int], Schedule], float]] = {"low": (LOW, 0.50), "high": (HIGH, 0.29)}
"""merge_rate -> (published lists, ratio of block MACs for which a list is generated where none is published)."""


@dataclass(frozen=True)
class Shape:
    """What a schedule depends on: blocks, tokens before the first block (prefix tokens included), and width."""

    depth: int
    tokens: int
    prefix_tokens: int
    dim: int

    @classmethod
    def of(cls, facts: BackboneFacts) -> Shape:
        """The shape of that backbone. Raises MethodError where it has no blocks or no patch tokens."""
        if facts.depth < 1 or facts.tokens <= facts.prefix_tokens:
            raise MethodError(f"{facts.name} has no blocks of patch tokens, so there are none to remove")
        return cls(facts.depth, facts.tokens, facts.prefix_tokens, facts.dim)

    @property
    def patches(self) -> int:
        return self.tokens - self.prefix_tokens


def clamped(schedule: Schedule, shape: Shape) -> Schedule:
    """The schedule with every r_l ≤ (N_l - prefix) // 2, as ToMe clamps it. Raises MethodError: length, negatives."""
    if len(schedule) != shape.depth:
        raise MethodError(f"schedule has {len(schedule)} entries; the backbone has {shape.depth} blocks, give one each")
    if min(schedule) < 0:
        raise MethodError(f"schedule has the negative entry {min(schedule)}; expected tokens to remove, 0 or more")
    left, kept = shape.patches, []
    for wanted in schedule:
        kept.append(min(wanted, left // 2))
        left -= kept[-1]
    return tuple(kept)


def tokens_after(schedule: Schedule, shape: Shape) -> tuple[int, ...]:
    """Tokens left after each block, prefix tokens included, the schedule clamped."""
    return tuple(accumulate(clamped(schedule, shape), lambda left, removed: left - removed, initial=shape.tokens))[1:]


def block_macs(shape: Shape, schedule: Schedule) -> int:
    """Multiply-accumulates of the blocks of a ViT with MLP ratio 4, for one image, the schedule clamped.

    Per block with N tokens before and N' after the reduction: 3ND² (qkv) + ND² (projection) + 2N²D (attention)
    + 8N'D² (MLP). Not counted: patch embedding, norms, head, what adapts the model (LoRA, PYRA) and the matching.
    """
    after = tokens_after(schedule, shape)
    dim = shape.dim
    return sum(
        4 * before * dim**2 + 2 * before**2 * dim + 8 * left * dim**2
        for before, left in zip((shape.tokens, *after[:-1]), after, strict=True)
    )


def mac_ratio(shape: Shape, schedule: Schedule) -> float:
    """`block_macs` with the schedule over `block_macs` without: 1 where nothing is removed."""
    return block_macs(shape, schedule) / block_macs(shape, (0,) * shape.depth)


@cache
def generated(shape: Shape, ratio: float) -> Schedule:
    """The mildest schedule of its family whose `mac_ratio` is `ratio` or less, for any depth and number of tokens.

    Where a constant reduction per block reaches the ratio, it is that one, rounded so that the sums are even (15, 16,
    16, 15 …); else each block keeps the same share of its patch tokens, as in PYRA's high lists. At least one patch
    token is left. Raises MethodError for a ratio that no schedule reaches.
    """
    if not 0 < ratio <= 1:
        raise MethodError(f"a MAC ratio of {ratio:g} is asked for; expected more than 0, at most 1")
    totals = range(shape.patches)  # at least one patch token is left
    total = bisect_left(totals, True, key=lambda total: mac_ratio(shape, _constant(shape, total)) <= ratio)
    if total < len(totals):
        return _constant(shape, total)
    smallest = mac_ratio(shape, _geometric(shape, 0.0))
    if smallest > ratio:
        raise MethodError(
            f"a MAC ratio of {ratio:g} cannot be reached: removing half of the patch tokens in each of "
            f"{shape.depth} blocks leaves {ceil(smallest * 1000) / 1000} of the MACs; ask for that or more"
        )
    enough, too_mild = 0.0, 1.0
    for _ in range(48):
        share = (enough + too_mild) / 2
        if mac_ratio(shape, _geometric(shape, share)) <= ratio:
            enough = share
        else:
            too_mild = share
    return _geometric(shape, enough)


def settle(params: Mapping[str, Value], facts: BackboneFacts) -> dict[str, Value]:
    """The hyper-parameters with `schedule` made explicit for that backbone: clamped, one entry per block.

    One of these says how much is removed, and the others are None or empty: `merge_rate` (low, high), `mac_ratio`,
    `speed_up` (theoretical: 1 / mac_ratio), `r` with `inflection` (ToMe's constant or linear decrease), `schedule`.
    None of them means the high rate. Everything but `schedule` stays as it was given, and settling twice changes
    nothing. Raises MethodError where two disagree or the backbone cannot do what is asked for.
    """
    shape = Shape.of(facts)
    ways = [name for name in _WAYS if params.get(name) is not None]
    if len(ways) > 1:
        raise MethodError(f"{_said(params, ways)} are given; give one of them: each says how much is removed")
    if params.get("inflection") and ways != ["r"]:
        raise MethodError("inflection is given without r; it says how r changes from the first block to the last")
    listed = params.get("schedule") or ()
    given = tuple(int(str(removed)) for removed in listed) if isinstance(listed, tuple) else ()
    if given and not ways:
        return {**params, "schedule": clamped(given, shape)}
    schedule = _WAYS[ways[0]](params, shape) if ways else _by_rate({"merge_rate": "high"}, shape)
    if given and given != schedule:
        raise MethodError(
            f"{_said(params, [*ways, 'schedule'])} are given and disagree ({ways[0]} means {schedule} on "
            f"{facts.name}); give one of them"
        )
    return {**params, "schedule": schedule}


def _said(params: Mapping[str, Value], names: Iterable[str]) -> str:
    return " and ".join(f"{name}={params[name]}" for name in names)


def _by_rate(params: Mapping[str, Value], shape: Shape) -> Schedule:
    rate = str(params["merge_rate"])
    if rate not in MERGE_RATES:
        raise MethodError(f"merge_rate is {rate!r}; expected one of {', '.join(MERGE_RATES)}")
    published, ratio = MERGE_RATES[rate]
    found = published.get((shape.depth, shape.tokens))
    return generated(shape, ratio) if found is None else clamped(found, shape)


def _by_mac_ratio(params: Mapping[str, Value], shape: Shape) -> Schedule:
    return generated(shape, float(str(params["mac_ratio"])))


def _by_speed_up(params: Mapping[str, Value], shape: Shape) -> Schedule:
    speed_up = float(str(params["speed_up"]))
    if speed_up < 1:
        raise MethodError(f"speed_up is {speed_up:g}; expected 1 (nothing removed) or more")
    return generated(shape, 1 / speed_up)


def _by_r(params: Mapping[str, Value], shape: Shape) -> Schedule:
    """r tokens per block on average, from r (1 - inflection) in the first block linearly to r (1 + inflection).

    As `parse_r` of ToMe's release computes it, rounded towards zero: inflection 0 is constant, -1 falls to 0.
    """
    mean, inflection = int(str(params["r"])), float(str(params.get("inflection") or 0.0))
    if mean < 0 or not -1 <= inflection <= 1:
        raise MethodError(f"r is {mean} and inflection {inflection:g}; expected r ≥ 0 and inflection from -1 to 1")
    first = int(mean * (1.0 - inflection))
    step = (2 * mean - 2 * first) / max(shape.depth - 1, 1)
    return clamped(tuple(int(first + step * block) for block in range(shape.depth)), shape)


_WAYS: Mapping[str, Callable[[Mapping[str, Value], Shape], Schedule]] = {
    "merge_rate": _by_rate,
    "mac_ratio": _by_mac_ratio,
    "speed_up": _by_speed_up,
    "r": _by_r,
}
"""Hyper-parameter -> the schedule that it stands for."""


def _constant(shape: Shape, total: int) -> Schedule:
    """About `total` / depth tokens per block, the fractions carried over from block to block."""
    return _towards([shape.patches - total * block // shape.depth for block in range(1, shape.depth + 1)], shape)


def _geometric(shape: Shape, share: float) -> Schedule:
    """Each block keeps that share of its patch tokens, the fractions carried over from block to block."""
    return _towards([round(shape.patches * share**block) for block in range(1, shape.depth + 1)], shape)


def _towards(wanted: Iterable[int], shape: Shape) -> Schedule:
    """The schedule that leaves these patch tokens after each block, or the fewest that the clamp lets it leave.

    Fewer wanted never leave more, so cost is monotone in what is asked for: the generator searches by bisection.
    """
    left, removed = shape.patches, []
    for goal in wanted:
        removed.append(left - max(goal, (left + 1) // 2))
        left -= removed[-1]
    return tuple(removed)
