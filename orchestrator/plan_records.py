"""What a plan is: jobs in order, what is missing or refused, and how the product became them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.plan_blocks import RecipeUse
from orchestrator.resolve import LeftOut
from orchestrator.spec import SweepSpec
from orchestrator.tuning.cells import Cell
from storage.store import Entry


@dataclass(frozen=True)
class Refusal:
    """A stack that cannot run on a backbone, and how many jobs that is."""

    row: str
    backbone: str
    reason: str
    jobs: int


@dataclass
class Counts:
    """How the product became the jobs."""

    factors: tuple[str, ...] = ()
    product: int = 0
    excluded: int = 0
    included: int = 0
    refused: int = 0
    duplicates: int = 0
    jobs: int = 0
    off_the_shelf: int = 0
    parents: int = 0
    prepare: int = 0
    evaluate: int = 0
    measure: int = 0
    cells: int = 0
    by_rule: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """`entries` can be stored and run; `unresolved` wait for what `missing` lists, and have no identity yet.

    `weights`: hash -> file, for backbones whose weights the spec gives by path (a Site needs it). `left_out`: stacks
    of methods that are still to come; no job counts them. `cells`: what is tuned; there the entries stand for the
    final jobs, at values that the search will change.
    """

    spec: SweepSpec
    entries: tuple[Entry, ...]
    unresolved: tuple[Entry, ...]
    missing: tuple[str, ...]
    refused: tuple[Refusal, ...]
    counts: Counts
    weights: Mapping[str, Path]
    left_out: tuple[LeftOut, ...] = ()
    recipes: tuple[RecipeUse, ...] = ()
    cells: tuple[Cell, ...] = ()
