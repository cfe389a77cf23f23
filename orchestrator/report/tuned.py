"""Rows whose values a search chose: one row over all tasks, with its budget on it and the values below the board; of
a search after several objectives a row for every point of the front, with the values of its methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from orchestrator.report.board import Row
from orchestrator.report.titles import value_text
from storage.records import PRIMARY, BackboneRef, DatasetRef, Job, MethodCall, Phase, Value
from storage.records.tuned import SEARCH_ROW
from storage.store import JobState

CHOSEN = "tuned"
"""Stands on the row in the place of a value that differs by task."""

TRAIN = "train"  # owner of a recipe's values


@dataclass(frozen=True)
class Search:
    """`params`: what was chosen; `objectives`: of a front, else empty."""

    params: tuple[str, ...]
    objectives: tuple[str, ...]


def row_methods(state: JobState) -> tuple[MethodCall, ...]:
    """The job's methods as they make a row: what a search chose is no part of it, unless it makes points of a front."""
    if state.tuned is None or state.tuned.objectives:
        return state.job.methods
    hidden = set(state.tuned.params)
    return tuple(
        replace(
            call,
            params=tuple((name, CHOSEN if f"{call.name}.{name}" in hidden else value) for name, value in call.params),
        )
        for call in state.job.methods
    )


def row_search(state: JobState) -> Search | None:
    """What of the search parts rows."""
    return None if state.tuned is None else Search(state.tuned.params, state.tuned.objectives)


def is_on_front(search: Search | None) -> bool:
    """Whether the row is a point of a front: one of several rows of a search, and each task has its own."""
    return search is not None and bool(search.objectives)


def is_trial(state: JobState) -> bool:
    """Whether the job belongs to a row's search."""
    return state.job.phase is Phase.SEARCH and state.row.startswith(SEARCH_ROW)


def searched_for(states: Iterable[JobState]) -> dict[tuple[str, BackboneRef], set[DatasetRef]]:
    """(row, backbone) -> data sets on which values for it were looked for: it owes them, also where none were found."""
    found: dict[tuple[str, BackboneRef], set[DatasetRef]] = {}
    for state in states:
        if is_trial(state):
            row = state.row.removeprefix(SEARCH_ROW)
            found.setdefault((row, state.job.backbone), set()).add(state.job.dataset)
    return found


def tuned_fields(row: Row) -> frozenset[str]:
    """Fields of the row's recipe that a search chose."""
    names = {name for state in row.states if state.tuned is not None for name in state.tuned.params}
    return frozenset(name.removeprefix(f"{TRAIN}.") for name in names if name.startswith(f"{TRAIN}."))


def budget_words(states: Sequence[JobState]) -> str:
    """` (tuned: 20 trials)`, behind a row's name, ` (tuned: 20 trials, on the front)`; "" for rows not tuned."""
    trials = sorted({state.tuned.trials for state in states if state.tuned is not None})
    if not trials:
        return ""
    number = f"{trials[0]}" if len(trials) == 1 else f"{trials[0]} to {trials[-1]}"
    on_front = ", on the front" if any(state.tuned.objectives for state in states if state.tuned is not None) else ""
    return f" (tuned: {number} trials{on_front})"


def tuned_notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """One sentence per tuned row: the values of every task, and where accuracy alone did not decide. Of points of a
    front those that the row's name does not have, and what the front is of."""
    fronts = {
        (f"val_{PRIMARY[state.job.dataset.task]}", *state.tuned.objectives[1:])
        for row in rows
        for state in row.states
        if state.tuned and state.tuned.objectives
    }
    notes = [
        f"On the front: no other trial of the row's search was as good in all of {', '.join(objectives)} on val200 and "
        "better in one."
        for objectives in sorted(fronts)
    ]
    for row in rows:
        by_task: dict[str, str] = {}
        for state in row.states:
            if state.tuned is not None and state.job.trained_on in (None, state.job.dataset):
                tie = f" (tied with {state.tuned.ties})" if state.tuned.ties else ""
                by_task.setdefault(state.job.dataset.name.rpartition("/")[2], f"{_values(state)}{tie}")
        if any(by_task.values()):
            said = "; ".join(f"{task} {values}" for task, values in by_task.items())
            notes.append(f"{row.title} on {row.backbone.label} chose on val200: {said}")
    return tuple(notes)


def _values(state: JobState) -> str:
    tuned = state.tuned
    names = () if tuned is None else tuned.params
    if tuned is not None and tuned.objectives:
        names = tuple(name for name in names if name.startswith(f"{TRAIN}."))
    found = [(name, _value(state.job, name)) for name in names]
    return " ".join(f"{name}={chosen_text(value)}" for name, value in found if not isinstance(value, tuple))


def _value(job: Job, name: str) -> Value:
    owner, _, field = name.rpartition(".")
    if owner == TRAIN:
        value: Value = getattr(job.recipe, field)
        return value
    return next((dict(call.params).get(field) for call in job.methods if call.name == owner), None)


def chosen_text(value: Value) -> str:
    """What a search chose, for people: a sampler's digits say nothing. CSV and JSON have them all."""
    return f"{value:.3g}" if isinstance(value, float) else value_text(value)
