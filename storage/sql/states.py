"""A job's state: which moves a person may ask for, and the mirror of it that claims and counts read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Case, ScalarSelect, and_, bindparam, case, exists, select, update

from storage.records import Status
from storage.sql.engine import Work
from storage.sql.rows import log_all, portions
from storage.sql.tables import BLOCKED, artifacts, jobs, needs, sweep_jobs
from storage.store import IllegalMove, UnknownJob

MOVES: dict[Status, frozenset[Status]] = {
    Status.HELD: frozenset({Status.PENDING}),
    Status.PENDING: frozenset({Status.HELD, Status.FAILED, Status.CANCELLED, Status.PRUNED}),
    Status.CANCELLED: frozenset({Status.PENDING, Status.HELD, Status.LEASED, Status.RUNNING}),
}
"""What a person may ask for -> the states it can be asked in. All other moves belong to the loop."""


def move(work: Work, job_ids: Iterable[str], status: Status) -> list[str]:
    """Set the status of those jobs whose state allows it; their ids. See `Store.set_status`."""
    if status not in MOVES:
        asked = ", ".join(allowed.value for allowed in MOVES)
        raise IllegalMove(f"status {status.value!r} is set by the loop alone; expected one of {asked}")
    found: dict[str, str] = {}
    ids = list(job_ids)
    for portion in portions(ids):
        query = select(jobs.c.job_id, jobs.c.status).where(jobs.c.job_id.in_(portion))
        found.update(work.conn.execute(query).all())
    if unknown := [job_id for job_id in ids if job_id not in found]:
        raise UnknownJob(f"no job {unknown[0]!r} in this store ({len(unknown)} of {len(ids)} ids unknown)")
    moved = [(job_id, found[job_id]) for job_id in dict.fromkeys(ids) if Status(found[job_id]) in MOVES[status]]
    if moved:
        _write(work, [job_id for job_id, _ in moved], status)
        log_all(work, f"job_{status.value}", [(job_id, None, {"from": before}) for job_id, before in moved])
    return [job_id for job_id, _ in moved]


def _write(work: Work, job_ids: Sequence[str], status: Status) -> None:
    values: dict[str, Any] = {"status": status.value, "lease_until_s": None}
    if status is Status.PENDING:
        values |= {"forgiven_epoch": jobs.c.lease_epoch}  # a retry starts with a clean slate
    one = update(jobs).where(jobs.c.job_id == bindparam("one")).values(values)
    work.conn.execute(one, [{"one": job_id} for job_id in job_ids])
    refresh(work, job_ids)


def _mirrored() -> ScalarSelect[str]:
    """What sweep_jobs.state must be. A need is an artifact's key, or the id of a parent that must be done."""
    parents = jobs.alias("parents")
    there = exists().where(artifacts.c.key_id == needs.c.key_id)
    is_done = exists().where(parents.c.job_id == needs.c.key_id, parents.c.status == Status.DONE.value)
    lacks = exists().where(needs.c.job_id == jobs.c.job_id, ~there, ~is_done)
    state: Case[str] = case((and_(jobs.c.status == Status.PENDING.value, lacks), BLOCKED), else_=jobs.c.status)
    return select(state).where(jobs.c.job_id == sweep_jobs.c.job_id).scalar_subquery()


# Statements are built once: building one costs several times its execution.
_REFRESH = update(sweep_jobs).values(state=_mirrored())
_REFRESH_JOB = _REFRESH.where(sweep_jobs.c.job_id == bindparam("one"))
_REFRESH_SWEEP = _REFRESH.where(sweep_jobs.c.sweep == bindparam("one"))
_REFRESH_WAITING = _REFRESH.where(
    sweep_jobs.c.job_id.in_(select(needs.c.job_id).where(needs.c.key_id == bindparam("one"))),
    sweep_jobs.c.state == BLOCKED,
)


def refresh(work: Work, job_ids: Sequence[str]) -> None:
    """Make the mirror in sweep_jobs say what the jobs' rows and the artifacts say now."""
    if job_ids:
        work.conn.execute(_REFRESH_JOB, [{"one": job_id} for job_id in job_ids])


def refresh_sweep(work: Work, sweep: str) -> None:
    """As `refresh`, for all members of a sweep."""
    work.conn.execute(_REFRESH_SWEEP, {"one": sweep})


def refresh_waiting(work: Work, key_id: str) -> None:
    """As `refresh`, for all jobs that wait for this artifact, or for the job of this id to be done."""
    work.conn.execute(_REFRESH_WAITING, {"one": key_id})
