"""The products that a spec asks for: its own, and one per `include`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.plan_recipes import Published, look_up_recipes, recipe_for
from orchestrator.plan_rows import row_names
from orchestrator.plan_rules import Block
from orchestrator.plan_variants import Variant, shared_train, variants
from orchestrator.resolve import Lookup
from orchestrator.spec_methods import StackSpec


@dataclass(frozen=True)
class RecipeUse:
    """A published recipe in a plan: the stacks that it trains, and the data sets that its table has no row for."""

    name: str
    source: str
    stacks: tuple[str, ...]
    datasets: int
    without: tuple[str, ...]


def blocks_of(lookup: Lookup) -> list[Block]:
    """The spec's own product and one block per include; every name is looked up, so that every problem is found."""
    spec = lookup.spec
    shared = shared_train(lookup)
    published = look_up_recipes(lookup)

    def of(stack: StackSpec) -> list[Variant]:
        return variants(lookup, stack, shared, recipe_for(lookup, stack, published))

    found = [[variant for stack in spec.stacks for variant in of(stack)]]
    found += [of(include.stack) for include in spec.include]
    backbones = tuple(one for one in map(lookup.backbone, spec.backbones) if one is not None)
    datasets = lookup.training_sets(spec.datasets)
    rows = row_names(lookup, [variant for group in found for variant in group])
    blocks = [Block((), tuple(found[0]), tuple(rows[: len(found[0])]), backbones, datasets, spec.seeds)]
    start = len(found[0])
    for include, group in zip(spec.include, found[1:], strict=True):
        own = None if include.backbones is None else [lookup.backbone(one) for one in include.backbones]
        names = None if include.datasets is None else [(name, (*include.path, "dataset")) for name in include.datasets]
        blocks.append(
            Block(
                include.path,
                tuple(group),
                tuple(rows[start : start + len(group)]),
                backbones if own is None else tuple(one for one in own if one is not None),
                datasets if names is None else lookup.training_sets(names),
                spec.seeds if include.seeds is None else include.seeds,
            )
        )
        start += len(group)
    return blocks


def recipe_uses(blocks: Sequence[Block]) -> tuple[RecipeUse, ...]:
    """Every recipe that a variant is trained by, in the order of the spec."""
    stacks: dict[Published, dict[str, None]] = {}
    datasets: dict[Published, dict[str, None]] = {}
    for block in blocks:
        for variant in block.variants:
            if variant.published is not None:
                stacks.setdefault(variant.published, {})[variant.stack.label or variant.stack.name] = None
                datasets.setdefault(variant.published, {}).update(dict.fromkeys(one.name for one in block.datasets))
    return tuple(
        RecipeUse(
            recipe.name,
            recipe.source,
            tuple(names),
            len(datasets[recipe]),
            tuple(name for name in datasets[recipe] if recipe.rows and name not in recipe.rows),
        )
        for recipe, names in stacks.items()
    )


def factors(block: Block) -> tuple[str, ...]:
    """The parts of the product as the formula names them; stacks that are left out are no part of it."""
    stacks, rows = len({variant.stack.path for variant in block.variants}), len(block.variants)
    methods = _count(stacks, "method") if rows == stacks else f"{rows} variants of {_count(stacks, 'method')}"
    parts = {"backbone": block.backbones, "dataset": block.datasets, "seed": block.seeds}
    return (methods, *(_count(len(part), name) for name, part in parts.items()))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
