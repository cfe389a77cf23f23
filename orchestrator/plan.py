"""plan(spec, catalogue) -> Plan: pure; every job of a sweep in a fixed order, and what cannot be run, with reasons.

Product of the axes -> overrides -> exclude -> include -> refused combinations -> one job per content. Overrides reach
included jobs, excludes do not. The first seed of every cell comes before second seeds; within a seed, jobs of one
backbone and data set are neighbours (a warm slot keeps both), and prepare jobs come before those that need them.
Evaluate jobs come after all final jobs, measure jobs last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator.catalogue import Catalogue
from orchestrator.plan_blocks import blocks_of, factors, recipe_uses
from orchestrator.plan_evaluate import evaluate_entries, evaluation_sets, off_the_shelf_job
from orchestrator.plan_jobs import JobMaker, Resolved, made_row
from orchestrator.plan_measure import measure_entries
from orchestrator.plan_recipes import Change
from orchestrator.plan_records import Counts, Plan, Refusal
from orchestrator.plan_rules import Block, Mask, aims_at_left_out, changes, check_match, mask
from orchestrator.plan_tune import check_tune
from orchestrator.plan_variants import Variant, trained_part
from orchestrator.resolve import UNKNOWN, Backbone, Lookup
from orchestrator.spec import Rule, SweepSpec
from orchestrator.spec_problems import SpecError, path_text
from orchestrator.tuning.cells import Point
from orchestrator.tuning.planning import tuned_cells
from storage.records import DatasetRef, Job
from storage.store import Entry

__all__ = ["Counts", "Plan", "Refusal", "plan"]

_MOST_POINTS_PER_JOB = 20  # a product may be that much larger than max_jobs, if excludes bring it down


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
    blocks = blocks_of(lookup)
    known = [variant for block in blocks for variant in block.variants]
    also = evaluation_sets(lookup)
    check_tune(lookup, known)
    for rule in (*spec.exclude, *spec.overrides) if known else ():
        check_match(lookup, rule, known)
    sets = [tuple(changes(lookup, rule, known)) for rule in spec.overrides] if known else []
    _stop(lookup)
    return _Planner(lookup, blocks, sets).plan(also)


def _stop(lookup: Lookup) -> None:
    if lookup.problems:
        raise SpecError(lookup.spec.source, lookup.problems)


class _Planner:
    """Expands the blocks of one spec; used once."""

    def __init__(self, lookup: Lookup, blocks: list[Block], sets: list[tuple[Change, ...]]) -> None:
        self.lookup, self.blocks, self.sets = lookup, blocks, sets
        self.maker = JobMaker(lookup)
        self.counts = Counts()
        self.refused: dict[tuple[str, str, str], int] = {}
        self.points: dict[tuple[int, int, str], Point] = {}
        self._resolved: dict[tuple[int, int, str, tuple[int, ...], tuple[Change, ...]], Resolved] = {}

    def plan(self, also: Sequence[DatasetRef]) -> Plan:
        spec = self.lookup.spec
        cells = [self._cells(block) for block in self.blocks]
        _stop(self.lookup)
        entries = self._entries(cells)
        entries += self._evaluations(entries, also)
        tuned = tuned_cells(self.lookup, self.points.values(), tuple(also))
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
            left_out=tuple(self.lookup.left_out.values()),
            recipes=recipe_uses(self.blocks),
            cells=tuned,
        )

    def _evaluations(self, entries: list[tuple[Entry, bool]], also: Sequence[DatasetRef]) -> list[tuple[Entry, bool]]:
        found, counts = evaluate_entries(self.lookup, also, entries), self.counts
        counts.evaluate = counts.off_the_shelf + len(found.entries)
        counts.jobs += counts.parents
        for what, jobs in found.refused.items():
            self.refused[what] = jobs
        if counts.jobs + counts.evaluate > self.lookup.spec.max_jobs:
            self.lookup.problem(
                ("also_evaluate",), f"makes more than {self.lookup.spec.max_jobs:,} jobs; raise max_jobs"
            )
        return found.entries

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
                    holding = [(one, at) for at, one in enumerate(overrides) if one.holds(v, b, d)]
                    applied = tuple((one, at) for one, at in holding if one.seeds.intersection(seeds))
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
            counts.factors = factors(block)
        for rule, found in [*zip(spec.exclude, excludes, strict=False), *zip(spec.overrides, overrides, strict=True)]:
            name = path_text(rule.path)
            counts.by_rule[name] = counts.by_rule.get(name, 0) + self._reach(rule, found, block)
        if block is self.blocks[-1]:
            for rule in (*spec.exclude, *spec.overrides):
                if counts.by_rule[path_text(rule.path)] == 0 and not aims_at_left_out(self.lookup, rule):
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
        row, task = cell.variant.row(cell.dataset.name), cell.dataset.task
        key = (id(cell.variant), id(cell.backbone), task, applied, row)
        if key not in self._resolved:
            all_changes = (*row, *(change for position in applied for change in self.sets[position]))
            self._resolved[key] = self.maker.resolve(cell.variant, cell.backbone, all_changes, task)
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
        later: list[tuple[_Cell, int, Resolved]] = []
        for points in self._points(cells):
            jobs: list[tuple[Job, _Cell, Resolved]] = []
            later += [point for point in points if point[2].trained is not None]
            for cell, seed, resolved in points:
                if resolved.trained is not None:
                    continue
                job = self.maker.job(resolved, cell.backbone, cell.dataset, seed)
                if job.job_id in seen:
                    counts.duplicates += 1
                    continue
                seen.add(job.job_id)
                point = Point(cell.row, cell.variant, cell.backbone, cell.dataset)
                point = self.points.setdefault(point.key, point)
                point.seeds.append((seed, resolved.changes))
                point.overrides.update(position for _, position in cell.overrides)
                jobs.append((job, cell, resolved))
                self._prepare(job, cell, resolved, (found, seen))
            counts.jobs += len(jobs)
            if counts.jobs > limit:
                self.lookup.problem((), f"plans more than {limit:,} jobs; raise max_jobs if you mean it")
                break
            for job, cell, resolved in jobs:
                found.append(self._entry(job, cell, resolved, len(found)))
        counts.cells = len(self.points)
        self._off_the_shelf(later, found, seen)
        return found

    def _prepare(
        self, job: Job, cell: _Cell, resolved: Resolved, known: tuple[list[tuple[Entry, bool]], set[str]]
    ) -> None:
        """The prepare jobs that the job needs and no earlier one did."""
        found, seen = known
        for key in job.needs:
            if key.key_id not in seen:
                seen.add(key.key_id)
                self.counts.prepare += 1
                found.append(self._entry(self.maker.prepare_job(job, key), cell, resolved, len(found)))

    def _off_the_shelf(
        self, later: list[tuple[_Cell, int, Resolved]], found: list[tuple[Entry, bool]], seen: set[str]
    ) -> None:
        """Parents that nothing else plans, then the evaluate jobs of stacks with members off the shelf."""
        children = []
        for cell, seed, resolved in later:
            if resolved.trained is None:
                continue
            rest, row = resolved.trained
            parent = self.maker.job(rest, cell.backbone, cell.dataset, seed)
            whole = self.maker.job(resolved, cell.backbone, cell.dataset, seed)
            children.append((off_the_shelf_job(whole, parent), cell, resolved))
            if self.lookup.spec.tune is not None:
                self._shelved(cell, row, (seed, rest.changes))
            if parent.job_id not in seen:
                seen.add(parent.job_id)
                self.counts.parents += 1
                self._prepare(parent, cell, rest, (found, seen))
                found.append(self._entry(parent, replace(cell, row=row), rest, len(found)))
        self.counts.off_the_shelf = len(children)
        for child, cell, resolved in children:
            found.append(self._entry(child, cell, resolved, len(found)))

    def _shelved(self, cell: _Cell, row: str, seed: tuple[int, tuple[Change, ...]]) -> None:
        """Values are tuned for the parent; the models of its final jobs are evaluated as the cell's row."""
        parent = Point(row, trained_part(cell.variant), cell.backbone, cell.dataset)
        known = (one for one in self.points.values() if one.place == parent.place)
        point = next(known, None) or self.points.setdefault(parent.key, parent)
        point.shelf[cell.row] = cell.variant
        point.overrides.update(position for _, position in cell.overrides)
        if seed[0] not in [one for one, _ in point.seeds]:
            point.seeds.append(seed)

    def _entry(self, job: Job, cell: _Cell, resolved: Resolved, order: int) -> tuple[Entry, bool]:
        row = cell.row if job.makes is None else made_row(job)
        is_resolved = cell.backbone.is_resolved and cell.dataset.data_hash != UNKNOWN
        return Entry(job, order, row, resolved.resources), is_resolved

    def _explain_nothing(self, refused: tuple[Refusal, ...]) -> None:
        for one in refused:
            self.lookup.problem((), f"{one.row} on {one.backbone} is refused: {one.reason}")
        for path, stack in self.lookup.left_out.items():
            self.lookup.problem(path, stack.reason)
        if not self.lookup.problems:
            self.lookup.problem(("exclude",), f"leaves no job: all {self.counts.product} are excluded")
        _stop(self.lookup)
