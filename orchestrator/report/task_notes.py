"""Hyper-parameters of a row that are not the same on every task, said below the table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from orchestrator.report.board import Row
from orchestrator.report.titles import value_text
from storage.records import DatasetRef

_MOST_NAMES = 3


def task_notes(rows: Sequence[Row], titles: Mapping[DatasetRef, str]) -> tuple[str, ...]:
    """One sentence per row that has any, e.g. `gps: connections_per_neuron is 1 on 18 tasks, 2 on patch_camelyon`.

    Not of values that a search chose: `tuned_notes` says them task by task."""
    found = [(row.title, said) for row in rows if (said := _differing(row, titles))]
    return tuple(f"{title}: {'; '.join(said)}" for title, said in sorted(found))


def _differing(row: Row, titles: Mapping[DatasetRef, str]) -> list[str]:
    values: dict[str, dict[str, dict[str, None]]] = defaultdict(lambda: defaultdict(dict))
    for state in row.states:
        chosen = () if state.tuned is None else state.tuned.params
        for call in state.job.methods:
            owner = f"{call.name}." if len(row.methods) > 1 else ""
            for name, value in call.params:
                if f"{call.name}.{name}" in chosen and not isinstance(value, tuple):
                    continue
                values[f"{owner}{name}"][value_text(value)][titles[state.job.dataset]] = None
    return [f"{name} is {_places(places)}" for name, places in sorted(values.items()) if len(places) > 1]


def _places(places: Mapping[str, Mapping[str, None]]) -> str:
    """Most tasks first, then by value."""
    ordered = sorted(places.items(), key=lambda item: (-len(item[1]), item[0]))
    return ", ".join(f"{value} on {_tasks(tuple(tasks))}" for value, tasks in ordered)


def _tasks(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= _MOST_NAMES else f"{len(names)} tasks"
