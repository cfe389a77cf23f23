"""Leases: how attempts at jobs begin, stay alive and are given back. The epoch is the fencing token of every write."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from sqlalchemy import Connection, Row, Update, and_, bindparam, insert, select, update

from storage.records import Lease, Status
from storage.sql.engine import Work
from storage.sql.rows import job_from, log, log_all, portions
from storage.sql.states import refresh
from storage.sql.tables import attempts, jobs, sweep_jobs
from storage.store import Entry, StaleLease, UnknownJob

EXPIRED = "expired"
"""Outcome of an attempt whose lease ran out."""

# Statements are built once: building one costs several times its execution.
VALID = and_(
    jobs.c.job_id == bindparam("job"), jobs.c.lease_epoch == bindparam("epoch"), jobs.c.lease_until_s.is_not(None)
)
_ATTEMPT = and_(attempts.c.job_id == bindparam("job"), attempts.c.lease_epoch == bindparam("epoch"))
_READY = (
    select(jobs.c.record, jobs.c.lease_epoch, sweep_jobs.c.ordinal, sweep_jobs.c.row, sweep_jobs.c.resources)
    .join_from(sweep_jobs, jobs)
    .where(sweep_jobs.c.sweep == bindparam("sweep"), sweep_jobs.c.state == Status.PENDING.value)
    .order_by(sweep_jobs.c.ordinal, sweep_jobs.c.job_id)
    .limit(bindparam("most"))
    # Our writers take turns; rows that a session outside Sweepboard has locked are left for the next claim.
    .with_for_update(of=jobs, skip_locked=True)
)
_READY_OF = _READY.where(jobs.c.job_id.in_(bindparam("only", expanding=True)))
_TAKE = (
    update(jobs)
    .where(jobs.c.job_id == bindparam("job"))
    .values(status=Status.LEASED.value, lease_epoch=bindparam("next"), lease_until_s=bindparam("until"))
)
_START = update(jobs).where(VALID).values(status=Status.RUNNING.value).returning(jobs.c.makes)
_RETURN = update(jobs).where(VALID).values(status=Status.PENDING.value, lease_until_s=None)
_RELEASE = _RETURN.returning(jobs.c.makes)
_NOTE_START = update(attempts).where(_ATTEMPT).values(started_s=bindparam("at")).returning(attempts.c.sweep)
_END = update(attempts).where(_ATTEMPT).values(ended_s=bindparam("at"), outcome=bindparam("how"))
_NOTE_END = _END.values(counted=bindparam("own_fault")).returning(attempts.c.sweep)


def claim(work: Work, sweep: str, owner: str, limit: int, ttl_s: float) -> list[tuple[Entry, Lease]]:
    """See `Store.claim`, of all jobs of the sweep."""
    ready = work.conn.execute(_READY, {"sweep": sweep, "most": max(0, limit)})
    return _claimed(work, sweep, (owner, work.now_s + ttl_s), ready)


def claim_of(work: Work, sweep: str, terms: tuple[str, int, float], only: Iterable[str]) -> list[tuple[Entry, Lease]]:
    """See `Store.claim`, of the jobs named in `only`; `terms` are owner, limit and ttl_s."""
    owner, limit, ttl_s = terms
    found: list[tuple[Entry, Lease]] = []
    for ids in portions(only):
        if len(found) < limit:
            ready = work.conn.execute(_READY_OF, {"sweep": sweep, "most": limit - len(found), "only": ids})
            found += _claimed(work, sweep, (owner, work.now_s + ttl_s), ready)
    return found


_Ready = Iterable[Row[*tuple[Any, ...]]]


def _claimed(work: Work, sweep: str, holder: tuple[str, float], ready: _Ready) -> list[tuple[Entry, Lease]]:
    owner, expires_s = holder
    claimed = [
        (Entry(job, ordinal, row, json.loads(resources)), Lease(job.job_id, epoch + 1, owner, expires_s))
        for record, epoch, ordinal, row, resources in ready
        for job in [job_from(record)]
    ]
    if claimed:
        _take(work, sweep, [lease for _, lease in claimed])
    return claimed


def _take(work: Work, sweep: str, leases: Sequence[Lease]) -> None:
    rows = [{"job": lease.job_id, "next": lease.epoch, "until": lease.expires_s} for lease in leases]
    work.conn.execute(_TAKE, rows)
    begun = [
        {
            "job_id": lease.job_id,
            "lease_epoch": lease.epoch,
            "sweep": sweep,
            "owner": lease.owner,
            "leased_s": work.now_s,
            "counted": False,
        }
        for lease in leases
    ]
    work.conn.execute(insert(attempts), begun)
    refresh(work, [lease.job_id for lease in leases])
    log_all(work, "lease", [(item.job_id, sweep, {"epoch": item.epoch, "owner": item.owner}) for item in leases])


def start(work: Work, lease: Lease) -> None:
    """See `Store.start`. Starting twice is one start."""
    change(work, lease, _START, {})
    sweep = note(work, lease, _NOTE_START, {})
    log(work, "job_running", {"epoch": lease.epoch}, job_id=lease.job_id, sweep=sweep)


def renew(work: Work, leases: Sequence[Lease], ttl_s: float) -> dict[str, Lease]:
    """See `Store.renew`. A lease that ran out and that nobody took back is as good as before."""
    current: dict[str, int] = {}
    for portion in portions(lease.job_id for lease in leases):
        held = select(jobs.c.job_id, jobs.c.lease_epoch).where(
            jobs.c.job_id.in_(portion), jobs.c.lease_until_s.is_not(None)
        )
        current.update(work.conn.execute(held).all())
    until_s = work.now_s + ttl_s
    valid = {
        lease.job_id: replace(lease, expires_s=until_s) for lease in leases if current.get(lease.job_id) == lease.epoch
    }
    if valid:
        longer = update(jobs).where(jobs.c.job_id == bindparam("job")).values(lease_until_s=until_s)
        work.conn.execute(longer, [{"job": job_id} for job_id in valid])
    return valid


def ran_out(conn: Connection, now_s: float) -> list[tuple[str, int]]:
    """(job id, lease epoch) of leases whose time is over."""
    over = select(jobs.c.job_id, jobs.c.lease_epoch).where(jobs.c.lease_until_s <= now_s).order_by(jobs.c.job_id)
    return [(job_id, epoch) for job_id, epoch in conn.execute(over)]


def expire(work: Work) -> list[str]:
    """See `Store.expire`."""
    lost = ran_out(work.conn, work.now_s)
    if lost:
        leases = [{"job": job_id, "epoch": epoch} for job_id, epoch in lost]
        work.conn.execute(_RETURN, leases)
        work.conn.execute(_END, [lease | {"at": work.now_s, "how": EXPIRED} for lease in leases])
        refresh(work, [job_id for job_id, _ in lost])
        log_all(work, "expire", [(job_id, None, {"epoch": epoch}) for job_id, epoch in lost])
    return [job_id for job_id, _ in lost]


def release(work: Work, lease: Lease, cause: str, counted: bool) -> None:
    """See `Store.release`."""
    change(work, lease, _RELEASE, {})
    sweep = end_attempt(work, lease, cause, counted)
    data = {"epoch": lease.epoch, "cause": cause, "counted": counted}
    log(work, "release", data, job_id=lease.job_id, sweep=sweep)


def change(work: Work, lease: Lease, statement: Update, values: Mapping[str, Any]) -> str | None:
    """Change the job's row if the statement's condition allows it; the key of the artifact that the job makes.

    Raises StaleLease, UnknownJob.
    """
    row = work.conn.execute(statement, {"job": lease.job_id, "epoch": lease.epoch, **values}).first()
    if row is None:
        _refuse(work, lease)
    refresh(work, [lease.job_id])
    makes: str | None = row[0]
    return makes


def end_attempt(work: Work, lease: Lease, outcome: str, counted: bool) -> str:
    """Note how the attempt ended; the sweep that it was claimed for."""
    return note(work, lease, _NOTE_END, {"how": outcome, "own_fault": counted})


def note(work: Work, lease: Lease, statement: Update, values: Mapping[str, Any]) -> str:
    """Write into the attempt's row; the sweep that it was claimed for."""
    row = {"job": lease.job_id, "epoch": lease.epoch, "at": work.now_s, **values}
    sweep: str = work.conn.execute(statement, row).scalar_one()
    return sweep


def _refuse(work: Work, lease: Lease) -> NoReturn:
    row = work.conn.execute(select(jobs.c.status, jobs.c.lease_epoch).where(jobs.c.job_id == lease.job_id)).first()
    if row is None:
        raise UnknownJob(f"no job {lease.job_id!r} in this store; is it the store that the lease came from?")
    raise StaleLease(
        f"lease {lease.epoch} of job {lease.job_id} (owner {lease.owner}) is no longer valid: the job is {row[0]}, "
        f"its last lease is {row[1]}. Nothing was written; stop this attempt"
    )
