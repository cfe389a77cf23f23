"""Makes a `Leaderboard` from job states: one pass over the jobs, the rest over rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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
from orchestrator.report.drafts import RECIPE_FIELDS, Draft, drafts_of, joined, owe_searched
from orchestrator.report.measured import Measurements
from orchestrator.report.removals import removal_notes
from orchestrator.report.scores import cell, group_means, mean_of, metric_means, ranked, score, whole_mean
from orchestrator.report.task_notes import task_notes
from orchestrator.report.titles import backbone_labels, backbone_notes, distinct_titles
from orchestrator.report.tuned import budget_words, is_on_front, tuned_notes
from storage.records import BackboneRef, DatasetRef, Phase, Recipe, Status, Value
from storage.store import JobState

SCORED = (Phase.FINAL, Phase.EVALUATE)
"""The phases whose test scores reach a board."""

VERSION_FACTS = ("sweepboard", "python", "torch", "timm", "torchvision", "numpy")


def leaderboard(
    states: Iterable[JobState], places: Mapping[str, Place], *, sweeps: Sequence[str] = (), command: str = ""
) -> Leaderboard:
    """The board of all final and evaluate jobs among `states`, finished or not, in any order; the same job twice counts
    once. Speed and memory are those of the measure jobs among them.

    `places`: data set -> where it stands; its order is the order of the columns. Where it names tasks of a suite that
    no job is of, the section says how many it shows.
    """
    states = list(states)
    drafts = drafts_of(state for state in states if state.job.phase in SCORED)
    drafts = joined(drafts) if len(sweeps) == 1 else drafts
    owe_searched(drafts, states)
    measurements = Measurements(states)
    tasks = _tasks({dataset for draft in drafts for dataset in draft.runs}, places)
    labels = backbone_labels((draft.key.backbone, draft.key.image_size) for draft in drafts)
    by_section: dict[tuple[str, str, Protocol], list[Draft]] = {}
    for draft in drafts:
        for suite, kind in {(tasks[dataset].place.suite, dataset.task) for dataset in draft.runs}:
            here = [dataset for dataset in draft.runs if (tasks[dataset].place.suite, dataset.task) == (suite, kind)]
            runs = {dataset: draft.runs[dataset] for dataset in here}
            if any(runs.values()):
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
    drafts: list[Draft],
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
    draft: Draft,
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
        recipe=_recipe_values({draft.recipes[dataset] for dataset, by_seed in runs.items() if by_seed}),
        seeds=tuple(seeds),
        cells=cells,
        group_means=per_group,
        mean_of_tasks=whole_mean(cells),
        mean_of_groups=mean_of(per_group),
        metric_means=metric_means([result.metrics for result in results if result is not None], BOARD_METRICS),
        states=states,
    )


def _measured(row: Row, draft: Draft, measurements: Measurements) -> Row:
    recipes = list(dict.fromkeys(draft.recipes[dataset] for dataset, by_seed in draft.runs.items() if by_seed))
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
