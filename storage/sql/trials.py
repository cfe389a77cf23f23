"""Sweeps that grow while they run: entries added, and the trials for which they were added."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from storage.records import Trial
from storage.sql.engine import Work
from storage.sql.reading import require_sweep
from storage.sql.rows import log, portions, to_text
from storage.sql.states import refresh
from storage.sql.sweeps import add_jobs, add_members, known_ids
from storage.sql.tables import sweep_jobs, sweeps, trials
from storage.store import Entry, StoreError

_LEAVE = delete(sweep_jobs).where(sweep_jobs.c.sweep == bindparam("of"), sweep_jobs.c.job_id == bindparam("one"))


_END = (
    update(trials)
    .where(trials.c.study == bindparam("of"), trials.c.number == bindparam("at"), trials.c.end.is_(None))
    .values(end=bindparam("how"))
)


def extend(work: Work, sweep: str, entries: Sequence[Entry], asked: Sequence[Trial]) -> tuple[Trial, ...]:
    """See `Store.extend`."""
    require_sweep(work.conn, sweep)
    before = _before(work, asked)
    recorded = tuple(before.get((one.study, one.number), one) for one in asked)
    wanted = {one.job_id for one in recorded}
    late = {one.job_id for one in asked} - wanted
    members = {entry.job.job_id: entry for entry in entries if entry.job.job_id not in late}
    known = known_ids(work, [*members, *(job_id for job_id in wanted if job_id is not None)])
    add_jobs(work, [entry.job for job_id, entry in members.items() if job_id not in known])
    if absent := {one.job_id for one in recorded if one.job_id is not None} - known - set(members):
        raise StoreError(f"trials name jobs that the store does not have: {', '.join(sorted(absent))}")
    if members:
        work.conn.execute(_LEAVE, [{"of": sweep, "one": job_id} for job_id in members])
        add_members(work, sweep, members)
        refresh(work, list(members))
    fresh = add_trials(work, asked)
    log(work, "sweep_extended", {"jobs": len(members), "trials": fresh}, sweep=sweep)
    return recorded


def add_trials(work: Work, asked: Sequence[Trial]) -> int:
    """Record those whose number is free; how many those were. Their jobs are in the store."""
    before = _before(work, asked)
    fresh = [one for one in asked if (one.study, one.number) not in before]
    if fresh:
        work.conn.execute(insert(trials), [_row(one, work.now_s) for one in fresh])
    return len(fresh)


def end(work: Work, ended: Sequence[Trial]) -> None:
    """See `Store.end_trials`."""
    values = [{"of": one.study, "at": one.number, "how": _end_text(one)} for one in ended if one.end is not None]
    if values:
        work.conn.execute(_END, values)


def _before(work: Work, asked: Sequence[Trial]) -> dict[tuple[str, int], Trial]:
    return {(one.study, one.number): one for one in of_studies(work.conn, {one.study for one in asked})}


def of_studies(conn: Connection, studies: Iterable[str]) -> list[Trial]:
    """See `Store.trials`."""
    found: list[Trial] = []
    for portion in portions(sorted(studies)):
        query = select(trials).where(trials.c.study.in_(portion)).order_by(trials.c.study, trials.c.number)
        found += [_trial(row) for row in conn.execute(query)]
    return found


def studies(conn: Connection, sweep: str) -> tuple[str, ...]:
    """See `Store.studies`."""
    require_sweep(conn, sweep)
    own = studies_saved(conn, sweep)
    query = (
        select(trials.c.study)
        .join(sweep_jobs, sweep_jobs.c.job_id == trials.c.job_id)
        .where(sweep_jobs.c.sweep == sweep)
        .group_by(trials.c.study)
        .order_by(func.min(sweep_jobs.c.ordinal), trials.c.study)
    )
    return tuple(study for study in conn.scalars(query) if own is None or study in own)


def studies_saved(conn: Connection, sweep: str) -> tuple[str, ...] | None:
    """The searches that the sweep was last saved with; None where nobody said."""
    text = conn.scalar(select(sweeps.c.studies).where(sweeps.c.name == sweep))
    return None if text is None else tuple(json.loads(text))


def _row(trial: Trial, now_s: float) -> dict[str, Any]:
    texts = {"params": to_text(dict(trial.params)), "attrs": to_text(dict(trial.attrs))}
    bound = None if trial.bound is None else to_text(trial.bound)
    return {**vars(trial), **texts, "bound": bound, "end": _end_text(trial), "asked_s": now_s}


def _end_text(trial: Trial) -> str | None:
    return None if trial.end is None else to_text(asdict(trial.end))


def _trial(row: Row[*tuple[Any, ...]]) -> Trial:
    read = {name: json.loads(row._mapping[name] or "null") for name in ("params", "attrs", "bound", "end")}
    return Trial.from_json(
        {"study": row.study, "number": row.number, "job_id": row.job_id, "refusal": row.refusal, **read}
    )
