"""Makes a `Leaderboard` from job states: one pass over the jobs, the rest over rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial

from orchestrator.report.board import (
    BOARD_METRICS,
    Backbone,
    Leaderboard,
    Place,
    Protocol,
    Row,
    Section,
    Task,
    place_of,
)
from orchestrator.report.measured import Measurements
from orchestrator.report.removals import removal_notes
from orchestrator.report.scores import cell, group_means, mean_of, metric_means, ranked, score, whole_mean
from orchestrator.report.task_notes import task_notes
from orchestrator.report.titles import backbone_labels, backbone_notes, distinct_titles
from orchestrator.report.tuned import Search, budget_words, is_on_front, row_methods, row_search, tuned_notes
from storage.records import BackboneRef, DatasetRef, MethodCall, Phase, Recipe, Status, Value
from storage.store import JobState

SCORED = (Phase.FINAL, Phase.EVALUATE)
"""The phases whose test scores reach a board."""

_IN_PROTOCOL = ("precision", "resize", "image_size")
RECIPE_FIELDS = tuple(item.name for item in fields(Recipe) if item.name not in _IN_PROTOCOL)
VERSION_FACTS = ("sweepboard", "python", "torch", "timm", "torchvision", "numpy")

Runs = dict[DatasetRef, dict[int, JobState]]
"""The jobs of a row by data set and seed."""


@dataclass(frozen=True)
class _Key:
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
class _Draft:
    """A row before its section is known. `axes`: recipe fields that part this row from its siblings."""

    key: _Key
    axes: tuple[tuple[str, Value], ...]
    recipes: dict[DatasetRef, Recipe] = field(default_factory=dict)
    runs: Runs = field(default_factory=dict)


def leaderboard(
    states: Iterable[JobState], places: Mapping[str, Place], *, sweeps: Sequence[str] = (), command: str = ""
) -> Leaderboard:
    """The board of all final and evaluate jobs among `states`, finished or not, in any order; the same job twice counts
    once. Speed and memory are those of the measure jobs among them.

    `places`: data set -> where it stands; its order is the order of the columns. Where it names tasks of a suite that
    no job is of, the section says how many it shows.
    """
    states = list(states)
    drafts = _drafts(state for state in states if state.job.phase in SCORED)
    drafts = _joined(drafts) if len(sweeps) == 1 else drafts
    measurements = Measurements(states)
    tasks = _tasks({dataset for draft in drafts for dataset in draft.runs}, places)
    labels = backbone_labels((draft.key.backbone, draft.key.image_size) for draft in drafts)
    by_section: dict[tuple[str, str, Protocol], list[_Draft]] = {}
    for draft in drafts:
        for suite, kind in {(tasks[dataset].place.suite, dataset.task) for dataset in draft.runs}:
            here = [dataset for dataset in draft.runs if (tasks[dataset].place.suite, dataset.task) == (suite, kind)]
            runs = {dataset: draft.runs[dataset] for dataset in here}
            by_section.setdefault((suite, kind, draft.key.protocol), []).append(replace(draft, runs=runs))
    sections = [
        replace(_section(suite, protocol, members, (tasks, labels, measurements)), task=kind)
        for (suite, kind, protocol), members in by_section.items()
    ]
    suites = list(dict.fromkeys(task.place.suite for task in tasks.values()))
    sections.sort(
        key=lambda section: (suites.index(section.suite), section.task, -len(section.rows), repr(section.protocol))
    )
    shown = [state for section in sections for row in section.rows for state in row.states]
    results = [state.result for state in shown if state.status is Status.DONE and state.result is not None]
    facts = {tuple(map(result.facts.get, ("device", *VERSION_FACTS))) for result in results}
    return Leaderboard(
        sweeps=tuple(sweeps),
        sections=tuple(_with_coverage(_with_differences(section, sections), places) for section in sections),
        counts=dict(sorted(Counter(state.status for state in shown).items())),
        seeds=tuple(sorted({state.job.seed for state in shown})),
        devices=tuple(sorted({device for device, *_ in facts if device is not None})),
        versions=tuple(sorted({pair for _, *found in facts for pair in _known(VERSION_FACTS, found)})),
        command=command,
    )


def _known(names: Sequence[str], values: Sequence[str | None]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in zip(names, values, strict=True) if value is not None]


def _drafts(finals: Iterable[JobState]) -> list[_Draft]:
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
    families: dict[_Key, list[tuple[Recipe, Runs]]] = {}
    for bucket in buckets.values():
        state = next(iter(next(iter(bucket.values())).values()))
        job, size, revision = state.job, state.job.recipe.image_size, state.job.trainer_revision
        made_by = (revision, job.schema, job.phase, row_search(state))
        key = _Key(row_methods(state), job.backbone, size, Protocol.of(job), *made_by)
        families.setdefault(key, []).append((job.recipe, bucket))
    return [draft for key, members in families.items() for draft in _split_by_axes(key, members)]


def _split_by_axes(key: _Key, members: list[tuple[Recipe, Runs]]) -> list[_Draft]:
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
    drafts: dict[tuple[Value, ...], _Draft] = {}
    for recipe, runs in members:
        values = tuple(getattr(recipe, name) for name in axes)
        draft = drafts.setdefault(values, _Draft(key, tuple(zip(axes, values, strict=True))))
        draft.recipes |= dict.fromkeys(runs, recipe)
        draft.runs |= runs  # no data set comes twice: its recipes differ in an axis
    return list(drafts.values())


def _joined(drafts: list[_Draft]) -> list[_Draft]:
    """One draft where a sweep's own row has other hyper-parameters on other data sets: a release's table, an override.

    Within one sweep a row's name stands for one entry of its spec; across sweeps it may not, so they are not joined.
    Nor are points of fronts, whose names are short for their values.
    """
    families: dict[tuple[object, ...], list[_Draft]] = {}
    for draft in drafts:
        names = frozenset(state.row for seeds in draft.runs.values() for state in seeds.values())
        calls = tuple((call.name, call.revision) for call in draft.key.methods)
        key = draft.key if is_on_front(draft.key.search) else replace(draft.key, methods=())
        families.setdefault((names, calls, key, draft.axes), []).append(draft)
    found: list[_Draft] = []
    for members in families.values():
        datasets = {dataset for draft in members for dataset in draft.runs}
        is_disjoint = len(datasets) == sum(len(draft.runs) for draft in members)
        found += [_as_one(members)] if is_disjoint else members
    return found


def _as_one(members: list[_Draft]) -> _Draft:
    """The hyper-parameters are those of the most data sets; notes of the section say where others hold."""
    first = min(members, key=lambda draft: (-len(draft.runs), repr(draft.key.methods)))
    joined = _Draft(first.key, first.axes)
    for draft in members:
        joined.recipes |= draft.recipes
        joined.runs |= draft.runs
    return joined


def _tasks(datasets: set[DatasetRef], places: Mapping[str, Place]) -> dict[DatasetRef, Task]:
    """Columns in the order of `places`, then by name. One name with two contents gets two titles."""
    position = {name: index for index, name in enumerate(places)}
    contents = Counter(dataset.name for dataset in datasets)
    shorts = Counter((place_of(name, places).suite, name.rpartition("/")[2]) for name in contents)
    ordered = sorted(datasets, key=lambda d: (position.get(d.name, len(position)), d.name, d.data_hash, d.classes))
    tasks: dict[DatasetRef, Task] = {}
    for dataset in ordered:
        place, short = place_of(dataset.name, places), dataset.name.rpartition("/")[2]
        title = short if shorts[place.suite, short] == 1 else dataset.name
        title = title if contents[dataset.name] == 1 else f"{title}@{dataset.data_hash[:8]}"
        tasks[dataset] = Task(dataset.name, dataset.data_hash, dataset.classes, place, title)
    return tasks


def _section(
    suite: str,
    protocol: Protocol,
    drafts: list[_Draft],
    names: tuple[Mapping[DatasetRef, Task], Mapping[tuple[BackboneRef, int | None], str], Measurements],
) -> Section:
    tasks, labels, measurements = names
    present = {dataset for draft in drafts for dataset in draft.runs}
    columns = [dataset for dataset in tasks if dataset in present]
    groups = tuple(tasks[dataset].place.group for dataset in columns)
    named = tuple(dict.fromkeys(groups))
    grouped = len(named) > 1 and "" not in named
    row = partial(_row, columns=columns, groups=groups if grouped else (), labels=labels)
    rows = [_measured(row(draft), draft, measurements) for draft in drafts]
    titled = distinct_titles([(one, draft.axes) for one, draft in zip(rows, drafts, strict=True)])
    return Section(
        suite=suite,
        protocol=protocol,
        tasks=tuple(tasks[dataset] for dataset in columns),
        groups=named if grouped else (),
        rows=ranked(titled, by="mean_of_groups" if grouped else "mean_of_tasks"),
        notes=(
            *backbone_notes({(draft.key.backbone, draft.key.image_size) for draft in drafts}),
            *removal_notes(titled),
            *task_notes(titled, {dataset: tasks[dataset].title for dataset in columns}),
            *tuned_notes(titled),
        ),
    )


def _row(
    draft: _Draft,
    columns: Sequence[DatasetRef],
    groups: Sequence[str],
    labels: Mapping[tuple[BackboneRef, int | None], str],
) -> Row:
    key, runs = draft.key, draft.runs
    seeds = sorted({seed for by_seed in runs.values() for seed in by_seed})
    scored = [
        [(seed, state, score(state)) for seed in seeds if (state := runs.get(dataset, {}).get(seed)) is not None]
        for dataset in columns
    ]
    owed = [0 if is_on_front(key.search) and not column else len(seeds) for column in scored]  # of its own tasks alone
    cells = tuple(cell([(s, value) for s, _, value in column], owe) for column, owe in zip(scored, owed, strict=True))
    per_group = group_means(cells, groups) if groups else ()
    states = tuple(state for column in scored for _, state, _ in column)
    results = [state.result for column in scored for _, state, value in column if value is not None]
    return Row(
        title=" / ".join(sorted({name or states[0].job.stack for name in {state.row for state in states}}))
        + budget_words(states),
        methods=key.methods,
        backbone=Backbone(key.backbone, key.image_size, labels[key.backbone, key.image_size]),
        trainer_revision=key.trainer_revision,
        recipe=_recipe_values({draft.recipes[dataset] for dataset in runs}),
        seeds=tuple(seeds),
        cells=cells,
        group_means=per_group,
        mean_of_tasks=whole_mean(cells),
        mean_of_groups=mean_of(per_group),
        metric_means=metric_means([result.metrics for result in results if result is not None], BOARD_METRICS),
        states=states,
    )


def _measured(row: Row, draft: _Draft, measurements: Measurements) -> Row:
    recipes = list(dict.fromkeys(draft.recipes[dataset] for dataset in draft.runs))
    return replace(row, measured=measurements.of(row.states[0].job, recipes))


def _recipe_values(recipes: set[Recipe]) -> tuple[tuple[str, tuple[Value, ...]], ...]:
    """(field, its values over these recipes), None and text before and after numbers so that any two can be sorted."""
    values = {name: {getattr(recipe, name) for recipe in recipes} for name in RECIPE_FIELDS}
    return tuple((name, tuple(sorted(found, key=lambda v: (type(v).__name__, v)))) for name, found in values.items())


def _with_coverage(section: Section, places: Mapping[str, Place]) -> Section:
    """An average of a part of a benchmark is not the benchmark's."""
    whole = {name for name, place in places.items() if place.suite == section.suite}
    shown = whole & {task.dataset for task in section.tasks}
    if len(shown) == len(whole):
        return section
    note = f"{len(shown)} of the {len(whole)} tasks of {section.suite} are shown: averages are of these alone."
    return replace(section, notes=(*section.notes, note))


def _with_differences(section: Section, sections: list[Section]) -> Section:
    others = tuple(other.protocol for other in sections if (other.suite, other.task) == (section.suite, section.task))
    differs = tuple(
        (name, tuple(sorted({getattr(other, name) for other in others} - {getattr(section.protocol, name)})))
        for name in section.protocol.differing(others)
    )
    return replace(section, differs=differs)
