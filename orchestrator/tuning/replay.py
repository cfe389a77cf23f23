"""Searches replayed on a table of recorded trials, in virtual time: samplers, pruners and budgets are compared on
thousands of trials in seconds, by the code that runs real ones.

A suggestion is answered by the recorded trial nearest to it in the space: its curve, its end, its duration. That is a
step function through real measurements, good to compare searches with each other and no new result: nothing of it
enters a store that anybody keeps.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from methods.api import Domain
from orchestrator.errors import UsageError
from orchestrator.loop import Loop
from orchestrator.tuning.cells import TRAIN, Cell
from orchestrator.tuning.outcomes import PRUNED, SCORE
from orchestrator.tuning.tuner import Tuner
from storage.open import open_store
from storage.records import Job, Phase, Result, Status
from storage.store import Store
from workers.pools.scripted import Answer, ScriptedPool, VirtualClock


@dataclass(frozen=True)
class Recorded:
    """One trial that was run: its values, and its result with the whole curve."""

    params: Mapping[str, Any]
    result: Result


@dataclass(frozen=True)
class Replayed:
    """What a search came to. `virtual_s`: from its start to its last trial; `slot_s`: time of the slots it took;
    `front`: values of the objectives, in the spec's order, of the trials that final jobs would be made of."""

    trials: int
    pruned: int
    best_score: float | None
    slot_s: float
    virtual_s: float
    front: tuple[tuple[float, ...], ...] = ()


def recorded_trials(store: Store, study: str) -> list[Recorded]:
    """Trials of a study that ran to their own end, done or diverged. Raises UsageError when there is none."""
    found = []
    for trial in store.trials([study]):
        state = None if trial.job_id is None else store.job(trial.job_id)
        if state is not None and state.result is not None and state.status in (Status.DONE, Status.FAILED):
            found.append(Recorded(trial.params, state.result))
    if not found:
        raise UsageError(f"study {study} has no finished trial to replay; `sweepboard tune show` lists studies")
    return found


def replay(cell: Cell, table: Sequence[Recorded], slots: int = 1) -> Replayed:
    """Search the cell on the table, with the sampler, pruner and budget of its spec, in a store of its own."""
    clock = VirtualClock()
    store = open_store("sqlite://", clock=clock)
    try:
        tuner = Tuner(store, "replay", [cell])
        store.save_sweep("replay", "", [])
        began_s = clock()
        with tempfile.TemporaryDirectory() as home:
            pool = ScriptedPool(_script(cell, table), clock, slots)
            Loop(store, "replay", pool, Path(home), clock=clock, guide=tuner).run()
        (study,) = tuner.studies
    finally:
        store.close()
    outcomes = [one for one in study.outcomes if one is not None]
    best = study.best
    points = [outcome for one in study.front if (outcome := study.outcomes[one.number]) is not None]
    return Replayed(
        trials=len(outcomes),
        pruned=sum(one.state == PRUNED for one in outcomes),
        best_score=None if best is None else outcomes[best.number].score,
        slot_s=sum(one.wall_s for one in outcomes),
        virtual_s=clock() - began_s,
        front=tuple(values for one in points if (values := one.values(cell.tune.objectives)) is not None),
    )


def _script(cell: Cell, table: Sequence[Recorded]) -> Callable[[Job, int], Answer]:
    def answer(job: Job, lease_epoch: int) -> Answer:
        if job.phase is not Phase.SEARCH:  # the table holds trials: what comes before and after takes no time
            files = {} if job.makes is None else {"artifact": f"artifacts/{job.makes.key_id}.safetensors"}
            return Answer(0.0, Result(job_id=job.job_id, status=Status.DONE, files=files))
        nearest = min(table, key=lambda one: _distance(cell.space, _values(job, cell.space), one.params))
        result = replace(nearest.result, job_id=job.job_id, files={})
        curve = tuple(epoch for epoch in result.epochs if SCORE in epoch.metrics)
        return Answer(result.metrics.get("wall_s", curve[-1].wall_s if curve else 0.0), result, epochs=curve)

    return answer


def _values(job: Job, space: Mapping[str, Domain]) -> dict[str, Any]:
    """What the job has in the place of each parameter of the space."""
    calls = {call.name: call.kwargs for call in job.methods}
    found = {}
    for name in space:
        owner, _, field = name.rpartition(".")
        found[name] = getattr(job.recipe, field) if owner == TRAIN else calls[owner][field]
    return found


def _distance(space: Mapping[str, Domain], one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Euclidean, every domain scaled to 0 … 1; two choices are 0 or 1 apart."""
    total = 0.0
    for name, domain in space.items():
        if domain.kind == "choice":
            total += one[name] != other[name]
        else:
            total += (_position(domain, one[name]) - _position(domain, other[name])) ** 2
    return total


def _position(domain: Domain, value: Any) -> float:
    low, high = (float(str(end)) for end in domain.values)
    if domain.kind == "log":
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (float(value) - low) / (high - low)
