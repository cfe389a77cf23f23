"""Rows whose values a search chose: one row over all tasks, with its budget on it and the values below the board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.report.board import Row
from storage.records import Job, MethodCall, Value
from storage.store import JobState

CHOSEN = "tuned"
"""Stands on the row in the place of a value that differs by task."""


def row_methods(state: JobState) -> tuple[MethodCall, ...]:
    """The job's methods as they make a row: what a search chose is no part of it."""
    if state.tuned is None:
        return state.job.methods
    hidden = set(state.tuned.params)
    return tuple(
        replace(
            call,
            params=tuple((name, CHOSEN if f"{call.name}.{name}" in hidden else value) for name, value in call.params),
        )
        for call in state.job.methods
    )


def budget_words(states: Sequence[JobState]) -> str:
    """` (tuned: 20 trials)`, behind a row's name; "" for rows that were not tuned."""
    trials = sorted({state.tuned.trials for state in states if state.tuned is not None})
    if not trials:
        return ""
    return f" (tuned: {trials[0]} trials)" if len(trials) == 1 else f" (tuned: {trials[0]} to {trials[-1]} trials)"


def tuned_notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """One sentence per tuned row: the values of every task, and where accuracy alone did not decide."""
    notes = []
    for row in rows:
        by_task: dict[str, str] = {}
        for state in row.states:
            if state.tuned is not None:
                tie = f" (tied with {state.tuned.ties})" if state.tuned.ties else ""
                by_task.setdefault(state.job.dataset.name.rpartition("/")[2], f"{_values(state)}{tie}")
        if by_task:
            said = "; ".join(f"{task} {values}" for task, values in by_task.items())
            notes.append(f"{row.title} on {row.backbone.label} chose on val200: {said}")
    return tuple(notes)


def _values(state: JobState) -> str:
    names = () if state.tuned is None else state.tuned.params
    found = [(name, _value(state.job, name)) for name in names]
    return " ".join(f"{name}={_text(value)}" for name, value in found if not isinstance(value, tuple))


def _value(job: Job, name: str) -> Value:
    owner, _, field = name.rpartition(".")
    if owner == "train":
        value: Value = getattr(job.recipe, field)
        return value
    return next((dict(call.params).get(field) for call in job.methods if call.name == owner), None)


def _text(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
