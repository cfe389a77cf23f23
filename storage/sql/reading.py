"""Questions to the store; nothing here writes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import Connection, Row, Select, Text, and_, func, literal_column, select

from storage.records import ArtifactKey, EpochMetrics, Lease, Status, Tuned
from storage.sql.rows import job_from, key_ids, many_records, portions, result_from
from storage.sql.tables import BLOCKED, artifacts, attempts, epoch_metrics, events, jobs, results, sweep_jobs, sweeps
from storage.store import Event, JobState, UnknownJob, UnknownSweep

_SHOWN = and_(results.c.job_id == jobs.c.job_id, results.c.status == jobs.c.status)
_LAST = attempts.c.lease_epoch == jobs.c.lease_epoch
_ANY_ROW = (
    select(sweep_jobs.c.row)
    .where(sweep_jobs.c.job_id == jobs.c.job_id)
    .order_by(sweep_jobs.c.sweep)
    .limit(1)
    .scalar_subquery()
)
_NOT_OF_A_SWEEP = literal_column("NULL", Text)
_States = Select[str, str, int, str | None, str | None, str | None]


def require_sweep(conn: Connection, sweep: str) -> None:
    if conn.scalar(select(sweeps.c.sweep_id).where(sweeps.c.name == sweep)) is None:
        names = ", ".join(sweep_names(conn)) or "none"
        raise UnknownSweep(f"no sweep named {sweep!r} in this store; there are: {names}")


def sweep_names(conn: Connection) -> tuple[str, ...]:
    return tuple(conn.scalars(select(sweeps.c.name).order_by(sweeps.c.sweep_id)))


def spec(conn: Connection, sweep: str) -> str:
    require_sweep(conn, sweep)
    text: str = conn.execute(select(sweeps.c.spec).where(sweeps.c.name == sweep)).scalar_one()
    return text


def job_states(conn: Connection, sweep: str | None, status: Status | None) -> list[JobState]:
    """See `Store.jobs`. Results come without their curves (`Result.epochs` is empty): ask `epochs` for those."""
    query = _of_all() if sweep is None else _of_sweep(sweep)
    if status is not None:
        query = query.where(jobs.c.status == status.value)
    with many_records():
        states = [_job_state(row) for row in conn.execute(query)]
    if sweep is not None and not states:
        require_sweep(conn, sweep)
    return states


def _of_sweep(sweep: str) -> _States:
    return (
        select(jobs.c.record, jobs.c.status, jobs.c.lease_epoch, sweep_jobs.c.row, results.c.record, sweep_jobs.c.tuned)
        .select_from(sweep_jobs.join(jobs).outerjoin(results, _SHOWN))
        .where(sweep_jobs.c.sweep == sweep)
        .order_by(sweep_jobs.c.ordinal, sweep_jobs.c.job_id)
    )


def _of_all() -> _States:
    return (
        select(jobs.c.record, jobs.c.status, jobs.c.lease_epoch, _ANY_ROW, results.c.record, _NOT_OF_A_SWEEP)
        .select_from(jobs.outerjoin(results, _SHOWN))
        .order_by(jobs.c.created_s, jobs.c.job_id)
    )


def _job_state(row: Row[str, str, int, str | None, str | None, str | None]) -> JobState:
    record, status, attempts_made, label, result, tuned = row
    return JobState(
        job=job_from(record),
        status=Status(status),
        attempts=attempts_made,
        row=label or "",
        result=None if result is None else result_from(result),
        tuned=None if tuned is None else Tuned.from_json(json.loads(tuned)),
    )


def one_job(conn: Connection, prefix: str) -> JobState:
    """See `Store.job`; the result is whole, with its curve."""
    start = prefix.lower()  # ids are hexadecimal, so that "g" comes after all that begin with the prefix
    rows = conn.execute(_of_all().where(jobs.c.job_id >= start, jobs.c.job_id < start + "g").limit(3)).all()
    states = [_job_state(row) for row in rows]
    if not prefix or not states:
        raise UnknownJob(f"no job {prefix!r} in this store; expected an id of 16 hexadecimal digits or its beginning")
    if len(states) > 1:
        some = ", ".join(state.job.job_id for state in states)
        raise UnknownJob(f"{prefix!r} is the beginning of several job ids ({some} …): write more digits")
    state = states[0]
    if state.result is None:
        return state
    return replace(state, result=replace(state.result, epochs=tuple(epochs(conn, state.job.job_id))))


def known(conn: Connection, job_ids: Iterable[str]) -> dict[str, Status]:
    found: dict[str, Status] = {}
    for portion in portions(job_ids):
        query = select(jobs.c.job_id, jobs.c.status).where(jobs.c.job_id.in_(portion))
        found.update((job_id, Status(status)) for job_id, status in conn.execute(query))
    return found


def counts(conn: Connection, sweep: str) -> Counter[Status]:
    """See `Store.counts`; a status that no job has counts zero."""
    found: Counter[Status] = Counter()
    query = select(sweep_jobs.c.state, func.count()).where(sweep_jobs.c.sweep == sweep).group_by(sweep_jobs.c.state)
    for state, number in conn.execute(query):
        found[Status.PENDING if state == BLOCKED else Status(state)] += number
    if not found:
        require_sweep(conn, sweep)
    return found


def leases(conn: Connection, sweep: str) -> list[Lease]:
    """See `Store.leases`; those that ran out and were not taken back yet are among them."""
    query = (
        select(jobs.c.job_id, jobs.c.lease_epoch, attempts.c.owner, jobs.c.lease_until_s)
        .select_from(sweep_jobs.join(jobs).join(attempts, and_(attempts.c.job_id == jobs.c.job_id, _LAST)))
        .where(sweep_jobs.c.sweep == sweep, jobs.c.lease_until_s.is_not(None))
        .order_by(sweep_jobs.c.ordinal, sweep_jobs.c.job_id)
    )
    held = [Lease(*row) for row in conn.execute(query)]
    if not held:
        require_sweep(conn, sweep)
    return held


def counted_failures(conn: Connection, job_id: str) -> int:
    """See `Store.counted_failures`: those since a person last asked for a retry."""
    query = (
        select(func.count())
        .select_from(attempts.join(jobs))
        .where(jobs.c.job_id == job_id, attempts.c.counted, attempts.c.lease_epoch > jobs.c.forgiven_epoch)
    )
    return conn.execute(query).scalar_one()


def paths(conn: Connection, keys: Iterable[ArtifactKey]) -> dict[str, str]:
    found: dict[str, str] = {}
    for portion in portions(key_ids(keys)):
        query = select(artifacts.c.key_id, artifacts.c.path).where(artifacts.c.key_id.in_(portion))
        found.update(conn.execute(query).all())
    return found


def epochs(conn: Connection, job_id: str) -> list[EpochMetrics]:
    query = (
        select(epoch_metrics.c.epoch, epoch_metrics.c.metrics, epoch_metrics.c.wall_s)
        .where(epoch_metrics.c.job_id == job_id)
        .order_by(epoch_metrics.c.epoch)
    )
    return [EpochMetrics(epoch, json.loads(metrics), wall_s) for epoch, metrics, wall_s in conn.execute(query)]


def log_lines(conn: Connection, after: int, limit: int, kind: str | None) -> list[Event]:
    query = select(events).where(events.c.event_id > after).order_by(events.c.event_id).limit(limit)
    if kind is not None:
        query = query.where(events.c.kind == kind)
    return [
        Event(row.event_id, row.kind, row.at_s, row.job_id, row.sweep, json.loads(row.data))
        for row in conn.execute(query)
    ]
