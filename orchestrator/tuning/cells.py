"""Cells: what is tuned, one study each; how a suggestion becomes a job, and the best one the final jobs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from methods.api import Domain
from methods.facts import Value
from orchestrator.plan_evaluate import evaluate_entries, off_the_shelf_job
from orchestrator.plan_jobs import JobMaker, Resolved, made_row
from orchestrator.plan_measure import measure_entries
from orchestrator.plan_recipes import Change
from orchestrator.plan_variants import Variant
from orchestrator.recipes import recipe_value
from orchestrator.resolve import UNKNOWN, Backbone
from orchestrator.spec import Tune
from orchestrator.tuning.optuna_study import most_trials
from storage.records import DatasetRef, Job, Tuned, digest
from storage.records.tuned import SEARCH_ROW
from storage.store import Entry

TRAIN = "train"
_FINALS_FROM = 1_000_000_000  # trials of other cells come first: they wait for each other, finals do not
_EVALUATES_FROM = 1_500_000_000
_MEASURES_FROM = 2_000_000_000


@dataclass
class Point:
    """A place in the product of a spec that is tuned: its jobs by seed, as (seed, what overrides set there), and the
    positions of those overrides in the spec."""

    row: str
    variant: Variant
    backbone: Backbone
    dataset: DatasetRef
    seeds: list[tuple[int, tuple[Change, ...]]] = field(default_factory=list)
    shelf: dict[str, Variant] = field(default_factory=dict)  # by row: what its final jobs' models are evaluated as
    overrides: set[int] = field(default_factory=set)

    @property
    def place(self) -> tuple[str, Backbone, DatasetRef]:
        """What a person calls it."""
        return self.row, self.backbone, self.dataset

    @property
    def key(self) -> tuple[int, int, str]:
        """Equal for all seeds of one place in one plan."""
        return id(self.variant), id(self.backbone), self.dataset.name


@dataclass(frozen=True)
class Asked:
    """The job that a suggestion asks for, with its resources; or why it cannot be run."""

    job: Job | None
    resources: Mapping[str, float]
    refusal: str = ""


@dataclass(frozen=True)
class Cell:
    """A stack on a backbone and a data set, and the space that is searched there ("<method or train>.<field>").

    `also`: other test sets for the models of its final jobs. `searching` and `finishing` make its jobs; `index` is its
    position among the `count` cells of the sweep. `siblings`: cells whose best values are its first trials, in the
    order in which they are asked.
    """

    point: Point
    space: Mapping[str, Domain]
    tune: Tune
    searching: JobMaker
    finishing: JobMaker
    index: int
    count: int
    siblings: tuple[Cell, ...] = ()
    also: tuple[DatasetRef, ...] = ()

    @property
    def row(self) -> str:
        return self.point.row

    @property
    def is_resolved(self) -> bool:
        """All that names its jobs is known on this machine, and all that names its siblings' studies."""
        own = self.point.backbone.is_resolved and self.point.dataset.data_hash != UNKNOWN
        return own and all(sibling.is_resolved for sibling in self.siblings)

    @cached_property
    def fixed(self) -> Any:
        """Plain JSON. The job at the first value of every domain stands for what is fixed: stack, recipe, backbone,
        data and seed."""
        fixed = self.trial({name: domain.values[0] for name, domain in self.space.items()})
        return fixed.refusal if fixed.job is None else fixed.job.to_json()

    @cached_property
    def study(self) -> str:
        return study_id(self.fixed, self.space, self.tune, [sibling.study for sibling in self.siblings])

    @property
    def final_jobs(self) -> int:
        return len(self.point.seeds) * (1 + len(self.also) + len(self.point.shelf))

    @property
    def trials(self) -> int | None:
        """The most that the search has; None where hours alone decide."""
        return most_trials(self.tune.sampler, self.tune.trials, self.space)

    @property
    def budget(self) -> str:
        """In words."""
        return replace(self.tune, trials=self.trials).budget

    @cached_property
    def gpus(self) -> float:
        """What a trial asks for; 0 on a CPU."""
        return float(self._resolved(self.searching, 0, {}).resources.get("gpus", 0.0))

    @property
    def slot_hours(self) -> float:
        """The budget in hours of slots; infinite without one."""
        hours = math.inf if self.tune.hours is None else self.tune.hours
        return hours if self.tune.gpu_hours is None else min(hours, self.tune.gpu_hours / (self.gpus or math.inf))

    @cached_property
    def epochs(self) -> int:
        """The most that a trial trains."""
        tuned = self.space.get(f"{TRAIN}.epochs")
        own = self._resolved(self.searching, 0, {}).recipe.epochs
        return own if tuned is None else max(int(str(value)) for value in tuned.values)

    def trial(self, params: Mapping[str, Any]) -> Asked:
        """The job of a suggestion, with the first seed."""
        resolved = self._resolved(self.searching, 0, params)
        return self._asked(self.searching, resolved, self.point.seeds[0][0])

    def named(self, params: Mapping[str, Any]) -> tuple[str | None, str]:
        """The id of a suggestion's job; or None, and why it cannot be run."""
        asked = self.trial(params)
        return (None if asked.job is None else asked.job.job_id), asked.refusal

    def trial_entries(self, number: int, asked: Asked) -> list[Entry]:
        """The job of trial `number` and what must be prepared for it: every cell's first trial before second ones."""
        return self._entries(self.searching, asked, number * self.count + self.index, None)

    def final_entries(self, params: Mapping[str, Any], tuned: Tuned) -> list[Entry]:
        """The jobs that the best values lead to, with every seed; what must be prepared for them, and what is measured
        and evaluated of them."""
        found: list[Entry] = []
        for at, (seed, _) in enumerate(self.point.seeds):
            asked = self._asked(self.finishing, self._resolved(self.finishing, at, params), seed)
            order = _FINALS_FROM + at * self.count + self.index
            found += self._entries(self.finishing, asked, order, tuned)
            found += self._off_the_shelf(asked, at, params, (order, tuned))
        lookup = self.finishing.lookup
        planned = [(entry, True) for entry in found]
        elsewhere = evaluate_entries(lookup, self.also, planned).entries
        found += [replace(entry, order=_EVALUATES_FROM + self.index, tuned=tuned) for entry, _ in elsewhere]
        measured = measure_entries(lookup.spec.measure, planned, lookup.catalogue.device)
        return found + [replace(entry, order=_MEASURES_FROM + self.index) for entry, _ in measured]

    def tuned(self, trials: int, best: int, ties: int) -> Tuned:
        """What a final job's place in the sweep says. What follows from tuned values counts as tuned."""
        names = list(self.space)
        for facts in self.point.variant.methods:
            if facts.settled_by is not None and any(name.startswith(f"{facts.name}.") for name in self.space):
                names += [f"{facts.name}.{item.name}" for item in facts.fields if item.is_list]
        objectives = self.tune.objectives if self.tune.has_front else ()
        return Tuned(self.study, trials, best, ties, tuple(dict.fromkeys(names)), objectives)

    @cached_property
    def bound(self) -> tuple[str, float] | None:
        """The constrained metric and its highest value; None without a constraint."""
        if self.tune.constraint is None:
            return None
        metric, bound = self.tune.constraint
        facts = self.point.backbone.facts
        if metric != "macs" or bound > 1 or facts is None:
            return metric, bound
        size = self._resolved(self.searching, 0, {}).recipe.image_size or facts.image_size
        return metric, bound * facts.macs * (size / facts.image_size) ** 2

    def _resolved(
        self, maker: JobMaker, at: int, params: Mapping[str, Any], variant: Variant | None = None
    ) -> Resolved:
        changes = (*self.point.seeds[at][1], *(_change(name, value) for name, value in params.items()))
        return maker.resolve(variant or self.point.variant, self.point.backbone, changes, self.point.dataset.task)

    def _off_the_shelf(self, asked: Asked, at: int, params: Mapping[str, Any], place: tuple[int, Tuned]) -> list[Entry]:
        """The final job's model with what comes in once it is trained."""
        if asked.job is None:
            return []
        found = []
        for row, variant in self.point.shelf.items():
            whole = self._resolved(self.finishing, at, params, variant)
            job = self.finishing.job(whole, self.point.backbone, self.point.dataset, asked.job.seed)
            found.append(Entry(off_the_shelf_job(job, asked.job), place[0], row, asked.resources, place[1]))
        return found

    def _asked(self, maker: JobMaker, resolved: Resolved, seed: int) -> Asked:
        wrong = [f"{name} {text}" for name, text in resolved.recipe.problems()]
        refusal = resolved.refusal or "; ".join(wrong)
        if refusal:
            return Asked(None, resolved.resources, refusal)
        return Asked(maker.job(resolved, self.point.backbone, self.point.dataset, seed), resolved.resources)

    def _entries(self, maker: JobMaker, asked: Asked, order: int, tuned: Tuned | None) -> list[Entry]:
        if asked.job is None:
            return []
        makers = [maker.prepare_job(asked.job, key) for key in asked.job.needs]
        prepared = [Entry(job, order, made_row(job), asked.resources) for job in makers]
        row = self.row if tuned is not None else f"{SEARCH_ROW}{self.row}"
        return [*prepared, Entry(asked.job, order, row, asked.resources, tuned)]


def _change(key: str, value: Value) -> Change:
    owner, _, name = key.rpartition(".")
    return (owner, name, recipe_value(name, value)[0] if owner == TRAIN else value)


def study_id(fixed: Any, space: Mapping[str, Domain], tune: Tune, siblings: Sequence[str] = ()) -> str:
    """Hash of all that decides a study's trials but their outcomes; `siblings`: studies that it starts from.

    A study is shared by sweeps and goes on when its budget grows: the budget is not in it.
    """
    record: dict[str, object] = {
        "fixed": fixed,
        "space": [[name, domain.kind, list(domain.values)] for name, domain in space.items()],
        "search": [tune.sampler, tune.pruner, tune.parallel, list(tune.constraint or ())],
    }
    if tune.has_front:
        record["objectives"] = list(tune.objectives)
    if siblings:
        record["warm_start"] = list(siblings)
    return digest(record)


def schedules(asked: Sequence[Asked]) -> set[object]:
    """The token schedules of these jobs: more than one, and the search decides how much is merged."""
    jobs = [one.job for one in asked if one.job is not None]
    return {tuple(dict(call.params).get("schedule") for call in job.methods) for job in jobs}
