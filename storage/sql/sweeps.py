"""Saving a sweep: jobs new to the store, what they need, and who belongs to the sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Insert, delete, insert, select, update

from storage.records import Job, Status
from storage.sql.engine import Work
from storage.sql.rows import key_ids, log, portions, to_text
from storage.sql.states import refresh_sweep
from storage.sql.tables import jobs, needs, sweep_jobs, sweeps
from storage.store import Entry, SweepChange


def save(
    work: Work, name: str, spec: str, entries: Sequence[Entry], studies: Sequence[str] | None = None
) -> SweepChange:
    """See `Store.save_sweep`. A job listed twice belongs to the sweep once, at its first place."""
    members: dict[str, Entry] = {}
    for entry in entries:
        members.setdefault(entry.job.job_id, entry)
    known = known_ids(work, members)
    fresh = [entry.job for job_id, entry in members.items() if job_id not in known]
    add_jobs(work, fresh)
    _set_spec(work, name, spec, studies)
    before = work.conn.scalars(select(sweep_jobs.c.job_id).where(sweep_jobs.c.sweep == name)).all()
    work.conn.execute(delete(sweep_jobs).where(sweep_jobs.c.sweep == name))
    add_members(work, name, members)
    refresh_sweep(work, name)
    change = SweepChange(
        new=tuple(job.job_id for job in fresh),
        known=tuple(job_id for job_id in members if job_id in known),
        dropped=tuple(sorted(set(before) - set(members))),
    )
    log(work, "sweep_saved", _sizes(change), sweep=name)
    return change


def known_ids(work: Work, ids: Iterable[str]) -> set[str]:
    """Those of the ids that the store knows as jobs."""
    found: set[str] = set()
    for portion in portions(ids):
        found.update(work.conn.scalars(select(jobs.c.job_id).where(jobs.c.job_id.in_(portion))))
    return found


def _set_spec(work: Work, name: str, spec: str, studies: Sequence[str] | None) -> None:
    values = {"spec": spec, "saved_s": work.now_s, "studies": None if studies is None else to_text(list(studies))}
    if work.conn.execute(update(sweeps).where(sweeps.c.name == name).values(values)).rowcount == 0:
        add_sweep(work, name, spec, studies)


def add_sweep(work: Work, name: str, spec: str, studies: Sequence[str] | None) -> None:
    """A sweep without members, unknown up to now."""
    known = None if studies is None else to_text(list(studies))
    times = {"created_s": work.now_s, "saved_s": work.now_s}
    work.conn.execute(insert(sweeps).values(name=name, spec=spec, studies=known, **times))


def add_members(work: Work, sweep: str, members: Mapping[str, Entry]) -> None:
    """By job id; none of them is in the sweep yet. Their state is a guess until `refresh_sweep`."""
    _insert(work, insert(sweep_jobs), [_member_row(sweep, job_id, entry) for job_id, entry in members.items()])


def add_jobs(work: Work, fresh: Sequence[Job]) -> None:
    """Jobs unknown up to now, pending, and what they need: artifacts by key, a parent by its id."""
    _insert(work, insert(jobs), [_job_row(job, work.now_s) for job in fresh])
    wanted = [{"job_id": job.job_id, "key_id": key_id} for job in fresh for key_id in _wanted(job)]
    _insert(work, insert(needs), wanted)


def _wanted(job: Job) -> list[str]:
    return [*key_ids(job.needs), *([] if job.parent is None else [job.parent])]


def _insert(work: Work, statement: Insert, rows: list[dict[str, Any]]) -> None:
    if rows:
        work.conn.execute(statement, rows)


def _job_row(job: Job, now_s: float) -> dict[str, Any]:
    return {
        "job_id": job.job_id,
        "phase": job.phase.value,
        "record": job.canonical(),
        "makes": None if job.makes is None else job.makes.key_id,
        "status": Status.PENDING.value,
        "lease_epoch": 0,
        "lease_until_s": None,
        "forgiven_epoch": 0,
        "created_s": now_s,
    }


def _member_row(sweep: str, job_id: str, entry: Entry) -> dict[str, Any]:
    return {
        "sweep": sweep,
        "job_id": job_id,
        "ordinal": entry.order,
        "row": entry.row,
        "resources": to_text(dict(entry.resources)),
        "state": Status.PENDING.value,
        "tuned": None if entry.tuned is None else to_text(entry.tuned.to_json()),
    }


def _sizes(change: SweepChange) -> dict[str, int]:
    return {"new": len(change.new), "known": len(change.known), "dropped": len(change.dropped)}
