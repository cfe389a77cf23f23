"""What a plan says of its tuning: cells, spaces, budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from methods.api import Domain
from orchestrator.plan import Plan
from orchestrator.tuning.cells import Cell
from orchestrator.tuning.waves import families, waves

_MOST_LINES = 20
_START = "shown below at the values that the search starts from"
_BEST = f" with the best values of each cell ({_START})"
_FRONT = f" for one point of each cell's front, as many again for every further one ({_START}; the time is for one)"


def tuning_lines(plan: Plan, trials: Mapping[str, int]) -> list[str]:
    """For people; `trials`: how many each study has already."""
    tune, cells = plan.spec.tune, plan.cells
    if tune is None:
        return []
    finals = sum(len(cell.point.seeds) for cell in cells)
    rule = [f"pruner {tune.pruner}", *([f"{tune.parallel} at a time"] if tune.parallel > 1 else [])]
    bound = [f"{tune.constraint[0]} <= {tune.constraint[1]:g}"] if tune.constraint else []
    after = [f"objectives {' and '.join(tune.objectives)}"] if tune.has_front else []
    known = sum(trials.values())
    how = ", ".join([tune.sampler, *rule, *after, *bound])
    lines = [
        f"tune: {_number(len(cells), 'cell')}, {' or '.join(dict.fromkeys(cell.budget for cell in cells))} each ({how})"
        + (f"; {known} trials are recorded already" if known else ""),
        f"  then {_number(finals, 'final job')}{_FRONT if tune.has_front else _BEST}",
    ]
    lines += _shared(cells)
    lines += [f"  {line}" for line in _warm_lines(cells)] if tune.warm_start else []
    lines += [f"  {_cell(cell)}" for cell in cells[:_MOST_LINES]]
    return lines + ([f"  … {len(cells) - _MOST_LINES} more cells"] if len(cells) > _MOST_LINES else [])


def tuning_record(plan: Plan, trials: Mapping[str, int]) -> dict[str, Any] | None:
    """For programs; None where nothing is tuned."""
    tune = plan.spec.tune
    if tune is None:
        return None
    return {
        "trials": tune.trials,
        "hours": tune.hours,
        "gpu_hours": tune.gpu_hours,
        "sampler": tune.sampler,
        "pruner": tune.pruner,
        "parallel": tune.parallel,
        "objectives": list(tune.objectives),
        "constraint": None if tune.constraint is None else {tune.constraint[0]: tune.constraint[1]},
        "warm_start": tune.warm_start or None,
        "cells": [
            {
                "study": cell.study if cell.is_resolved else None,
                "row": cell.row,
                "backbone": cell.point.backbone.ref.name,
                "dataset": cell.point.dataset.name,
                "space": {name: {domain.kind: list(domain.values)} for name, domain in cell.space.items()},
                "trials": trials.get(cell.study, 0) if cell.is_resolved else 0,
                "most_trials": cell.trials,
                "finals": len(cell.point.seeds),
                "starts_from": [sibling.point.dataset.name for sibling in cell.siblings],
            }
            for cell in plan.cells
        ],
    }


def _warm_lines(cells: Sequence[Cell]) -> list[str]:
    """One line for all families with the same data sets, which is nearly always one line."""
    found: dict[str, int] = {}
    for family in families(cells):
        steps = [" ".join(cell.point.dataset.name for cell in wave) for wave in waves(family)]
        order = ", then ".join(steps) if len(steps) > 1 else f"{steps[0]} alone: there is nothing to start from"
        found[order] = found.get(order, 0) + 1
    return [
        f"warm start: {order}" + (f" ({number} rows and backbones)" if number > 1 else "")
        for order, number in found.items()
    ]


def without_sharing(made: int, alone: int) -> str:
    """What is saved by making an artifact once; nothing is said where there is nothing to save."""
    return f" (each for itself: {alone})" if alone > made else ""


def _shared(cells: Sequence[Cell]) -> list[str]:
    """What the trials read that is made once: scores for all K, features for all heads. Of a budget in trials."""
    made: set[str] = set()
    alone = 0
    for cell in cells:
        keys = _shared_keys(cell)
        made |= keys
        alone += len(keys) * (cell.trials or 0)
    if not made or not alone:
        return []
    return [f"  its trials share {_number(len(made), 'prepare job')}{without_sharing(len(made), alone)}"]


def _shared_keys(cell: Cell) -> set[str]:
    """What every trial needs, whatever its values: an artifact that some of them decide is made for each of them."""
    first = {name: domain.values[0] for name, domain in cell.space.items()}
    points = [first, *({**first, name: value} for name, domain in cell.space.items() for value in domain.values[1:])]
    jobs = [asked.job for asked in map(cell.trial, points) if asked.job is not None]
    needs = [{key.key_id for key in job.needs} for job in jobs]
    return set.intersection(*needs) if needs else set()


def _cell(cell: Cell) -> str:
    space = ", ".join(f"{name} {_domain(domain)}" for name, domain in cell.space.items())
    return f"{cell.row}  {cell.point.backbone.ref.name}  {cell.point.dataset.name}  {space}"


def _domain(domain: Domain) -> str:
    if domain.kind == "choice":
        return "|".join(str(value) for value in domain.values)
    low, high = domain.values
    return f"{low}..{high}" + (" (log)" if domain.kind == "log" else "")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
