"""The products that a spec asks for, with every name looked up."""

from __future__ import annotations

from orchestrator.plan_rows import row_names
from orchestrator.plan_rules import Block
from orchestrator.plan_variants import shared_train, variants
from orchestrator.resolve import Lookup
from orchestrator.spec import SweepSpec


def blocks_of(lookup: Lookup) -> list[Block]:
    """The spec's own product and one block per include; every name is looked up, so that every problem is found."""
    spec = lookup.spec
    shared = shared_train(lookup)
    found = [[variant for stack in spec.stacks for variant in variants(lookup, stack, shared)]]
    found += [variants(lookup, include.stack, shared) for include in spec.include]
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


def factors(spec: SweepSpec, block: Block) -> tuple[str, ...]:
    """What multiplies to the block, in words: `5 methods`, `2 backbones` …"""
    stacks, rows = len(spec.stacks), len(block.variants)
    methods = _count(stacks, "method") if rows == stacks else f"{rows} variants of {_count(stacks, 'method')}"
    parts = {"backbone": block.backbones, "dataset": block.datasets, "seed": block.seeds}
    return (methods, *(_count(len(part), name) for name, part in parts.items()))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
