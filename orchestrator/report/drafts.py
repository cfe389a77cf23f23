"""Rows before their sections are known: jobs that are equal in all but data set and seed, of one entry of a spec."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace

from orchestrator.report.board import Protocol
from orchestrator.report.tuned import Search, is_on_front, row_methods, row_search, searched_for
from storage.records import BackboneRef, DatasetRef, MethodCall, Phase, Recipe, Status, Value
from storage.store import JobState

_IN_PROTOCOL = ("precision", "resize", "image_size")
RECIPE_FIELDS = tuple(item.name for item in fields(Recipe) if item.name not in _IN_PROTOCOL)

Runs = dict[DatasetRef, dict[int, JobState]]
"""The jobs of a row by data set and seed."""


@dataclass(frozen=True)
class Key:
    """What makes a row, besides the recipe fields that are axes. `search` is None where no search chose anything."""

    methods: tuple[MethodCall, ...]
    backbone: BackboneRef
    image_size: int | None
    protocol: Protocol
    trainer_revision: int
    schema: int
    phase: Phase
    search: Search | None


@dataclass
class Draft:
    """A row before its section is known. `axes`: recipe fields that part this row from its siblings."""

    key: Key
    axes: tuple[tuple[str, Value], ...]
    recipes: dict[DatasetRef, Recipe] = field(default_factory=dict)
    runs: Runs = field(default_factory=dict)


def drafts_of(finals: Iterable[JobState]) -> list[Draft]:
    """One draft per row. The only loop over all jobs: they fall into buckets equal in all but data set and seed."""
    buckets: dict[tuple[object, ...], Runs] = {}
    for state in finals:
        job = state.job
        kind = (
            row_methods(state),
            job.backbone,
            job.recipe,
            job.train_split,
            job.score_split,
            job.protocol,
            job.phase,
            job.trained_on,
            row_search(state),
        )
        runs = buckets.setdefault((*kind, job.trainer_revision, job.schema), {}).setdefault(job.dataset, {})
        if job.seed not in runs or state.status is Status.DONE:
            runs[job.seed] = state
    families: dict[Key, list[tuple[Recipe, Runs]]] = {}
    for bucket in buckets.values():
        state = next(iter(next(iter(bucket.values())).values()))
        job, size, revision = state.job, state.job.recipe.image_size, state.job.trainer_revision
        made_by = (revision, job.schema, job.phase, row_search(state))
        key = Key(row_methods(state), job.backbone, size, Protocol.of(job), *made_by)
        families.setdefault(key, []).append((job.recipe, bucket))
    return [draft for key, members in families.items() for draft in _split_by_axes(key, members)]


def _split_by_axes(key: Key, members: list[tuple[Recipe, Runs]]) -> list[Draft]:
    """Parts the recipes of one family where a field takes two values on the same data set: that is an axis."""
    by_dataset: dict[DatasetRef, set[Recipe]] = {}
    for recipe, runs in members:
        for dataset in runs:
            by_dataset.setdefault(dataset, set()).add(recipe)
    contested = [recipes for recipes in by_dataset.values() if len(recipes) > 1]
    axes = [
        name
        for name in RECIPE_FIELDS
        if any(len({getattr(recipe, name) for recipe in recipes}) > 1 for recipes in contested)
    ]
    drafts: dict[tuple[Value, ...], Draft] = {}
    for recipe, runs in members:
        values = tuple(getattr(recipe, name) for name in axes)
        draft = drafts.setdefault(values, Draft(key, tuple(zip(axes, values, strict=True))))
        draft.recipes |= dict.fromkeys(runs, recipe)
        draft.runs |= runs  # no data set comes twice: its recipes differ in an axis
    return list(drafts.values())


def joined(drafts: list[Draft]) -> list[Draft]:
    """One draft where a sweep's own row has other hyper-parameters on other data sets: a release's table, an override.

    Within one sweep a row's name stands for one entry of its spec; across sweeps it may not, so they are not joined.
    Nor are points of fronts, whose names are short for their values.
    """
    families: dict[tuple[object, ...], list[Draft]] = {}
    for draft in drafts:
        names = frozenset(state.row for seeds in draft.runs.values() for state in seeds.values())
        calls = tuple((call.name, call.revision) for call in draft.key.methods)
        key = draft.key if is_on_front(draft.key.search) else replace(draft.key, methods=())
        families.setdefault((names, calls, key, draft.axes), []).append(draft)
    found: list[Draft] = []
    for members in families.values():
        datasets = {dataset for draft in members for dataset in draft.runs}
        is_disjoint = len(datasets) == sum(len(draft.runs) for draft in members)
        found += [_as_one(members)] if is_disjoint else members
    return found


def _as_one(members: list[Draft]) -> Draft:
    """The hyper-parameters are those of the most data sets; notes of the section say where others hold."""
    first = min(members, key=lambda draft: (-len(draft.runs), repr(draft.key.methods)))
    whole = Draft(first.key, first.axes)
    for draft in members:
        whole.recipes |= draft.recipes
        whole.runs |= draft.runs
    return whole


def owe_searched(drafts: Sequence[Draft], states: Iterable[JobState]) -> None:
    """A row whose search found nothing on a data set, or has not ended there, lacks it. Points of fronts lack none."""
    searched = searched_for(states)
    for draft in drafts if searched else ():
        names = {state.row for seeds in draft.runs.values() for state in seeds.values()}
        if draft.key.search is not None and draft.key.phase is Phase.FINAL and not is_on_front(draft.key.search):
            for dataset in sorted(
                {one for name in names for one in searched.get((name, draft.key.backbone), ())},
                key=lambda one: one.name,
            ):
                draft.runs.setdefault(dataset, {})
