"""What the searches of a plan will still run, compared with what the store holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.tuning.cells import Asked, Cell
from storage.records import Phase, Status, Trial
from storage.store import Entry, JobState, Store


@dataclass(frozen=True)
class Coming:
    """`todo`: trials and the final jobs after them that have not ended, those that are not asked yet at the first
    values of their spaces; of a front the jobs of one point. `known`: of the trials asked and the final jobs that have
    joined the sweep, by job. `new`: how many of `todo` the store does not know. `trials`: how many each study has.
    `is_open`: hours decide how many trials there will be, and those are not in `todo`.
    """

    todo: tuple[Entry, ...] = ()
    known: Mapping[str, Status] = field(default_factory=dict)
    new: int = 0
    trials: Mapping[str, int] = field(default_factory=dict)
    is_open: bool = False


def coming(cells: Sequence[Cell], store: Store, joined: Sequence[JobState]) -> Coming:
    """Reads the store and changes nothing; `joined`: the jobs of the stored sweep. Cells that are not resolved have no
    identity yet and are left out."""
    cells = [cell for cell in cells if cell.is_resolved]
    recorded: dict[str, list[Trial]] = {}
    for trial in store.trials(cell.study for cell in cells):
        recorded.setdefault(trial.study, []).append(trial)
    known = store.known({one.job_id for trials in recorded.values() for one in trials if one.job_id is not None})
    todo: list[Entry] = []
    new: list[Entry] = []
    is_open = False
    for cell in cells:
        # A smaller budget than before leaves later trials out, as the tuner does.
        trials = [one for one in recorded.get(cell.study, []) if cell.trials is None or one.number < cell.trials]
        first = cell.trial({name: domain.values[0] for name, domain in cell.space.items()})
        waiting = _waiting(cell, trials, known)
        finals = [one for one in joined if one.tuned is not None and one.tuned.study == cell.study]
        left = 0 if cell.trials is None else cell.trials - len(trials)
        todo += waiting
        if left or waiting or not finals:
            new += cell.trial_entries(0, first)[-1:] * left + _finals(cell)
            is_open = is_open or (cell.trials is None and not finals)
            continue
        known |= {one.job.job_id: one.status for one in finals}
        todo += [_again(one, first) for one in finals if one.status is not Status.DONE]
    counts = {study: len(trials) for study, trials in recorded.items()}
    return Coming((*todo, *new), known, len(new), counts, is_open)


def _waiting(cell: Cell, trials: Sequence[Trial], known: Mapping[str, Status]) -> list[Entry]:
    """The jobs of trials that have been asked and have not ended, each once."""
    found: dict[str, Entry] = {}
    for trial in trials:
        status = None if trial.job_id is None else known.get(trial.job_id)
        if status is not None and not status.is_finished:
            for entry in cell.trial_entries(trial.number, cell.trial(trial.params))[-1:]:
                found[entry.job.job_id] = entry
    return list(found.values())


def _finals(cell: Cell) -> list[Entry]:
    first = {name: domain.values[0] for name, domain in cell.space.items()}
    entries = cell.final_entries(first, cell.tuned(0, 0, 0))
    return [entry for entry in entries if entry.job.phase in (Phase.FINAL, Phase.EVALUATE)]


def _again(state: JobState, first: Asked) -> Entry:
    return Entry(state.job, 0, state.row, first.resources, state.tuned)
