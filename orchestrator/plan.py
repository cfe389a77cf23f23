"""plan(spec, catalogue) -> Plan: pure; every job of a sweep in a fixed order, and what cannot be run, with reasons.

Product of the axes -> overrides -> exclude -> include -> refused combinations -> one job per content. Overrides reach
included jobs, excludes do not. The first seed of every cell comes before second seeds; within a seed, jobs of one
backbone and data set are neighbours (a warm slot keeps both), and prepare jobs come before those that need them.
Measure jobs come last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.catalogue import Catalogue
from orchestrator.plan_jobs import Change, JobMaker, Resolved, made_row
from orchestrator.plan_measure import measure_entries
from orchestrator.plan_rows import row_names
from orchestrator.plan_rules import Block, Mask, changes, check_match, mask
from orchestrator.plan_tune import check_tune
from orchestrator.plan_variants import Variant, shared_train, variants
from orchestrator.resolve import UNKNOWN, Backbone, Lookup
from orchestrator.spec import Rule, SweepSpec
from orchestrator.spec_problems import SpecError, path_text
from orchestrator.tuning.cells import Cell, Point
from orchestrator.tuning.planning import tuned_cells
from storage.records import DatasetRef, Job
from storage.store import Entry

_MOST_POINTS_PER_JOB = 20  # a product may be that much larger than max_jobs, if excludes bring it down


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
    prepare: int = 0
    measure: int = 0
    cells: int = 0
    by_rule: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """`entries` can be stored and run; `unresolved` wait for what `missing` lists, and have no identity yet.

    `weights`: hash -> file, for backbones whose weights the spec gives by path (a Site needs it). `cells`: what is
    tuned; there the entries stand for the final jobs, at values that the search will change.
    """

    spec: SweepSpec
    entries: tuple[Entry, ...]
    unresolved: tuple[Entry, ...]
    missing: tuple[str, ...]
    refused: tuple[Refusal, ...]
    counts: Counts
    weights: Mapping[str, Path]
    cells: tuple[Cell, ...] = ()


@dataclass(frozen=True)
class _Cell:
    """A variant on a backbone and a data set; `seeds` are positions in the block's list."""

    row: str
    variant: Variant
    backbone: Backbone
    dataset: DatasetRef
    seeds: range | frozenset[int]
    overrides: tuple[tuple[Mask, int], ...]


def plan(spec: SweepSpec, catalogue: Catalogue) -> Plan:
    """The plan of a sweep. Raises SpecError with every problem of the spec."""
    lookup = Lookup(spec, catalogue, problems=list(spec.document.problems))
    blocks = _blocks(lookup)
    known = [variant for block in blocks for variant in block.variants]
    if spec.also_evaluate:
        lookup.problem(("also_evaluate",), "is not supported in this version; leave it out")
    check_tune(lookup, known)
    for rule in (*spec.exclude, *spec.overrides) if known else ():
        check_match(lookup, rule, known)
    sets = [tuple(changes(lookup, rule, known)) for rule in spec.overrides] if known else []
    _stop(lookup)
    return _Planner(lookup, blocks, sets).plan()


def _stop(lookup: Lookup) -> None:
    if lookup.problems:
        raise SpecError(lookup.spec.source, lookup.problems)


def _blocks(lookup: Lookup) -> list[Block]:
    """The spec's own product and one block per include; every name is looked up, so that every problem is found."""
    spec = lookup.spec
    shared = shared_train(lookup)
    found = [[variant for stack in spec.stacks for variant in variants(lookup, stack, shared)]]
    found += [variants(lookup, include.stack, shared) for include in spec.include]
    backbones = tuple(one for one in map(lookup.backbone, spec.backbones) if one is not None)
    datasets = lookup.datasets(spec.datasets)
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
                datasets if names is None else lookup.datasets(names),
                spec.seeds if include.seeds is None else include.seeds,
            )
        )
        start += len(group)
    return blocks


def _factors(spec: SweepSpec, block: Block) -> tuple[str, ...]:
    stacks, rows = len(spec.stacks), len(block.variants)
    methods = _count(stacks, "method") if rows == stacks else f"{rows} variants of {_count(stacks, 'method')}"
    parts = {"backbone": block.backbones, "dataset": block.datasets, "seed": block.seeds}
    return (methods, *(_count(len(part), name) for name, part in parts.items()))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


class _Planner:
    """Expands the blocks of one spec; used once."""

    def __init__(self, lookup: Lookup, blocks: list[Block], sets: list[tuple[Change, ...]]) -> None:
        self.lookup, self.blocks, self.sets = lookup, blocks, sets
        self.maker = JobMaker(lookup)
        self.counts = Counts()
        self.refused: dict[tuple[str, str, str], int] = {}
        self.points: dict[tuple[int, int, str], Point] = {}
        self._resolved: dict[tuple[int, int, tuple[int, ...]], Resolved] = {}

    def plan(self) -> Plan:
        spec = self.lookup.spec
        cells = [self._cells(block) for block in self.blocks]
        _stop(self.lookup)
        entries = self._entries(cells)
        tuned = tuned_cells(self.lookup, self.points.values())
        _stop(self.lookup)
        measured = measure_entries(spec.measure, entries, self.lookup.catalogue.device)
        self.counts.measure, entries = len(measured), entries + measured
        refused = tuple(Refusal(*key, jobs) for key, jobs in self.refused.items())
        if not entries:
            self._explain_nothing(refused)
        weights = {
            one.ref.weights_hash: one.weights
            for block in self.blocks
            for one in block.backbones
            if one.weights is not None and one.ref.weights_hash != UNKNOWN
        }
        return Plan(
            spec=spec,
            entries=tuple(entry for entry, is_resolved in entries if is_resolved),
            unresolved=tuple(entry for entry, is_resolved in entries if not is_resolved),
            missing=tuple(self.lookup.missing),
            refused=refused,
            counts=self.counts,
            weights=weights,
            cells=tuned,
        )

    def _cells(self, block: Block) -> list[_Cell]:
        """The block's points without their seeds, excluded ones left out."""
        spec, counts = self.lookup.spec, self.counts
        excludes = [] if block.path else [mask(self.lookup, rule, block) for rule in spec.exclude]
        overrides = [mask(self.lookup, rule, block) for rule in spec.overrides]
        self._count_rules(block, excludes, overrides)
        if block.size > _MOST_POINTS_PER_JOB * spec.max_jobs:
            self.lookup.problem(block.path, f"is a product of {block.size:,} jobs; max_jobs is {spec.max_jobs:,}")
            return []
        every_seed = range(len(block.seeds))
        cells = []
        for b, backbone in enumerate(block.backbones):
            for d, dataset in enumerate(block.datasets):
                for v, variant in enumerate(block.variants):
                    out = [one.seeds for one in excludes if one.holds(v, b, d)]
                    seeds = frozenset(every_seed).difference(*out) if out else every_seed
                    counts.excluded += len(every_seed) - len(seeds)
                    applied = tuple((one, at) for at, one in enumerate(overrides) if one.holds(v, b, d))
                    if seeds:
                        cells.append(_Cell(block.rows[v], variant, backbone, dataset, seeds, applied))
        return cells

    def _count_rules(self, block: Block, excludes: list[Mask], overrides: list[Mask]) -> None:
        spec, counts = self.lookup.spec, self.counts
        if block.path:
            counts.included += block.size
            counts.by_rule[path_text(block.path)] = block.size
        else:
            counts.product = block.size
            counts.factors = _factors(spec, block)
        for rule, found in [*zip(spec.exclude, excludes, strict=False), *zip(spec.overrides, overrides, strict=True)]:
            name = path_text(rule.path)
            counts.by_rule[name] = counts.by_rule.get(name, 0) + self._reach(rule, found, block)
        if block is self.blocks[-1]:
            for rule in (*spec.exclude, *spec.overrides):
                if counts.by_rule[path_text(rule.path)] == 0:
                    self.lookup.problem(rule.path, "matches nothing; correct it or delete it")

    def _reach(self, rule: Rule, found: Mask, block: Block) -> int:
        """Jobs that the rule changes: an override of a method's parameter passes by the stacks without that method."""
        owners = {key.rpartition(".")[0] for key in rule.set} - {"train", "resources"}
        if not rule.set or len(owners) < len({key.rpartition(".")[0] for key in rule.set}):
            return found.size
        names = [{facts.name for facts in variant.methods} for variant in block.variants]
        reached = [at for at in found.variants if owners & names[at]]
        return found.size // max(len(found.variants), 1) * len(reached)

    def _points(self, cells: list[list[_Cell]]) -> Iterator[list[tuple[_Cell, int, Resolved]]]:
        """For each seed position in turn: every cell with that seed, refused ones left out."""
        for at in range(max(len(block.seeds) for block in self.blocks)):
            yield [
                (cell, block.seeds[at], resolved)
                for block, group in zip(self.blocks, cells, strict=True)
                for cell in group
                if at in cell.seeds and (resolved := self._resolve(cell, at)) is not None
            ]

    def _resolve(self, cell: _Cell, at: int) -> Resolved | None:
        applied = tuple(position for found, position in cell.overrides if at in found.seeds)
        key = (id(cell.variant), id(cell.backbone), applied)
        if key not in self._resolved:
            all_changes = tuple(change for position in applied for change in self.sets[position])
            self._resolved[key] = self.maker.resolve(cell.variant, cell.backbone, all_changes)
        resolved = self._resolved[key]
        if resolved.refusal is None:
            return resolved
        reason = (cell.row, cell.backbone.ref.name, resolved.refusal)
        self.refused[reason] = self.refused.get(reason, 0) + 1
        self.counts.refused += 1
        return None

    def _entries(self, cells: list[list[_Cell]]) -> list[tuple[Entry, bool]]:
        """Every job once, in order, with whether all that names it is known."""
        counts, limit = self.counts, self.lookup.spec.max_jobs
        found: list[tuple[Entry, bool]] = []
        seen: set[str] = set()
        for points in self._points(cells):
            jobs: list[tuple[Job, _Cell, Resolved]] = []
            for cell, seed, resolved in points:
                job = self.maker.job(resolved, cell.backbone, cell.dataset, seed)
                if job.job_id in seen:
                    counts.duplicates += 1
                    continue
                seen.add(job.job_id)
                point = Point(cell.row, cell.variant, cell.backbone, cell.dataset)
                self.points.setdefault(point.key, point).seeds.append((seed, resolved.changes))
                jobs.append((job, cell, resolved))
                for key in job.needs:
                    if key.key_id not in seen:
                        seen.add(key.key_id)
                        counts.prepare += 1
                        found.append(self._entry(self.maker.prepare_job(job, key), cell, resolved, len(found)))
            counts.jobs += len(jobs)
            if counts.jobs > limit:
                self.lookup.problem((), f"plans more than {limit:,} jobs; raise max_jobs if you mean it")
                break
            for job, cell, resolved in jobs:
                found.append(self._entry(job, cell, resolved, len(found)))
        counts.cells = len(self.points)
        return found

    def _entry(self, job: Job, cell: _Cell, resolved: Resolved, order: int) -> tuple[Entry, bool]:
        row = cell.row if job.makes is None else made_row(job)
        is_resolved = cell.backbone.is_resolved and cell.dataset.data_hash != UNKNOWN
        return Entry(job, order, row, resolved.resources), is_resolved

    def _explain_nothing(self, refused: tuple[Refusal, ...]) -> None:
        for one in refused:
            self.lookup.problem((), f"{one.row} on {one.backbone} is refused: {one.reason}")
        if not refused:
            self.lookup.problem(("exclude",), f"leaves no job: all {self.counts.product} are excluded")
        _stop(self.lookup)
