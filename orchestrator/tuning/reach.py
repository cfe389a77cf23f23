"""Constraints that nothing in a cell's space can meet, as far as that is certain before a model is built.

Exact costs need torch (`workers.costs`). Without it there are lower bounds: what adapts a backbone only adds to its
MACs, and a schedule says how many tokens its blocks still see at the least. What might be met is never refused.
"""

from __future__ import annotations

from itertools import product

from methods.api import BackboneFacts, Domain, Scalar
from methods.facts import MethodFacts
from methods.token_schedule import Shape, tokens_after
from orchestrator.tuning.cells import TRAIN, Cell
from storage.records import CLASSIFICATION, Job
from workers.backbone_facts import facts_at

_ADVICE = "raise it, or leave the row out"
_TOKENS = "tokens"
_REMOVING = ("merge_rate", "mac_ratio", "speed_up", "r", "inflection")
"""What decides the schedule (methods.token_schedule). The ends of a domain cost the least and the most, but those of
`inflection`, which moves the removal from block to block."""


def unmet(cell: Cell) -> str | None:
    """Why no trial of the cell can keep the constraint; None where one may."""
    if cell.tune.constraint is None or cell.bound is None or cell.point.backbone.facts is None:
        return None
    (metric, written), (_, bound) = cell.tune.constraint, cell.bound
    where = f"{cell.row} on {cell.point.backbone.ref.name}"
    if metric != "macs":
        trains = any(_always_trains(facts) for facts in cell.point.variant.methods) and cell.point.backbone.facts.params
        text = f"cannot be met by {where}, which trains one value or more: {_ADVICE}"
        return text if trains and bound < 1 else None
    if not bound:
        return f"is a part of the backbone's own MACs, and {cell.point.backbone.ref.name} has none: give MACs"
    least = _least_macs(cell, cell.point.backbone.facts)
    if least is None or least <= bound:
        return None
    unit = "of the backbone's own MACs" if written <= 1 else "MACs"
    cost = f"{least / bound * written:.6g} {unit} or more, its head included, all over its space"
    return f"cannot be met by {where}, which takes {cost}: {_ADVICE}"


def _always_trains(facts: MethodFacts) -> bool:
    """What merges tokens has nothing to train where none are merged."""
    return facts.passport is not None and facts.passport.trained_params > 0 and _TOKENS not in facts.seams


def _least_macs(cell: Cell, facts: BackboneFacts) -> float | None:
    """The smallest lower bound over the space; None where it cannot be told."""
    methods = cell.point.variant.methods
    if any(method.passport is None for method in methods):  # from outside: it may do anything to the backbone
        return None
    removing = {f"{method.name}.{name}" for method in methods if _TOKENS in method.seams for name in _REMOVING}
    deciding = {key: domain for key, domain in cell.space.items() if key in removing | {f"{TRAIN}.image_size"}}
    if any(key.endswith(".inflection") for key in deciding):
        return None
    first = {key: domain.values[0] for key, domain in cell.space.items()}
    costs: list[float | None] = []
    for values in product(*(_ends(domain) for domain in deciding.values())):
        asked = cell.trial(first | dict(zip(deciding, values, strict=True)))
        costs.append(None if asked.job is None else _floor(asked.job, facts))
    known = [cost for cost in costs if cost is not None]
    return min(known) if len(known) == len(costs) else None


def _ends(domain: Domain) -> tuple[Scalar, ...]:
    """Words have no ends: all of them."""
    numbers = [value for value in domain.values if isinstance(value, int | float) and not isinstance(value, bool)]
    return (min(numbers), max(numbers)) if len(numbers) == len(domain.values) else domain.values


def _floor(job: Job, facts: BackboneFacts) -> float | None:
    """MACs of one image that the job's model has at the least, head included; None at an image size where a family
    other than ViT rounds its maps."""
    size = job.recipe.image_size or facts.image_size
    here = facts_at(facts, size)
    if size == facts.image_size:
        macs = float(facts.macs)
    elif facts.family == "vit":
        # Patches grow with the area, all tokens less (the prefix stays), products of tokens with tokens more.
        macs = facts.macs * (here.tokens / facts.tokens if size > facts.image_size else (size / facts.image_size) ** 4)
    else:
        return None
    for call in job.methods:
        schedule = dict(call.params).get("schedule")
        if isinstance(schedule, tuple) and schedule:
            macs *= _kept(Shape.of(here), tuple(int(str(removed)) for removed in schedule))
    return macs + (facts.features * job.dataset.classes if job.dataset.task == CLASSIFICATION else 0)


def _kept(shape: Shape, schedule: tuple[int, ...]) -> float:
    """The part of the blocks' MACs that is left at the least: as if each block saw only the tokens that it hands on
    (PYRA's paper merges before attention) and had no MLP, which is linear in them and would raise the part."""

    def block(tokens: int) -> int:
        return tokens * (2 * shape.dim + tokens)

    return sum(map(block, tokens_after(schedule, shape))) / (shape.depth * block(shape.tokens))
