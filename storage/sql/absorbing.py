"""Absorbing another store's snapshot: what is unknown here is added, what is done there becomes done here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from storage.records import Lease, Result, Status
from storage.snapshot import Absorbed, Attempt, KeptJob, Place, Snapshot
from storage.sql.engine import Work
from storage.sql.finishing import add_artifact, write_result
from storage.sql.rows import log, log_all, portions
from storage.sql.states import refresh, refresh_sweep, refresh_waiting
from storage.sql.sweeps import add_jobs, add_members, add_sweep
from storage.sql.tables import attempts, jobs, sweep_jobs, sweeps
from storage.sql.trials import add_trials
from storage.store import Entry

_BUSY = frozenset({Status.LEASED, Status.RUNNING})
_YIELDS: dict[Status, frozenset[Status]] = {
    Status.DONE: frozenset(Status) - _BUSY - {Status.DONE},
    Status.PRUNED: frozenset({Status.PENDING, Status.HELD}),
}
"""Outcome there -> the states here that it replaces. A failure there is no reason not to try here."""

_END = (
    update(jobs)
    .where(jobs.c.job_id == bindparam("job"))
    .values(status=bindparam("becomes"), lease_epoch=bindparam("next"))
)


@dataclass(frozen=True)
class _Ended:
    """An outcome to be taken, and the lease that stands for it here."""

    lease: Lease
    attempt: Attempt
    result: Result
    makes: str | None


def absorb(work: Work, snapshot: Snapshot) -> Absorbed:
    """See `Store.absorb`."""
    here = _states(work, [kept.job.job_id for kept in snapshot.jobs])
    fresh = [kept for kept in snapshot.jobs if kept.job.job_id not in here]
    add_jobs(work, [kept.job for kept in fresh])
    _set_aside(work, fresh)
    ended = [
        _ended(kept.result, kept, here.get(kept.job.job_id, (Status.PENDING, 0))[1])
        for kept in snapshot.jobs
        if kept.result is not None and _is_taken(kept, here)
    ]
    new_sweeps, widened = _join_sweeps(work, snapshot)
    _end(work, ended)
    add_trials(work, snapshot.trials)
    return Absorbed(
        new=tuple(kept.job.job_id for kept in fresh),
        ended=tuple(one.result.job_id for one in ended),
        busy=tuple(
            kept.job.job_id
            for kept in snapshot.jobs
            if kept.status in _YIELDS and here.get(kept.job.job_id, (kept.status, 0))[0] in _BUSY
        ),
        sweeps=new_sweeps,
        widened=widened,
    )


def _states(work: Work, ids: Sequence[str]) -> dict[str, tuple[Status, int]]:
    """Status and last lease of those jobs that are here."""
    found: dict[str, tuple[Status, int]] = {}
    for portion in portions(ids):
        query = select(jobs.c.job_id, jobs.c.status, jobs.c.lease_epoch).where(jobs.c.job_id.in_(portion))
        found.update((job_id, (Status(status), epoch)) for job_id, status, epoch in work.conn.execute(query))
    return found


def _is_taken(kept: KeptJob, here: Mapping[str, tuple[Status, int]]) -> bool:
    if kept.job.job_id not in here:
        return kept.status.is_finished
    return here[kept.job.job_id][0] in _YIELDS.get(kept.status, frozenset())


def _set_aside(work: Work, fresh: Sequence[KeptJob]) -> None:
    """New jobs that a person held or cancelled there are so here; those leased there are pending here."""
    asked = [kept for kept in fresh if kept.status in (Status.HELD, Status.CANCELLED)]
    if asked:
        rows = [{"job": kept.job.job_id, "becomes": kept.status.value, "next": 0} for kept in asked]
        work.conn.execute(_END, rows)


def _ended(result: Result, kept: KeptJob, last_epoch: int) -> _Ended:
    attempt = kept.attempt or Attempt("", "", 0.0)
    makes = None if kept.job.makes is None or result.status is not Status.DONE else kept.job.makes.key_id
    # A lease later than all given here: what a lost worker still sends for an earlier one is stale.
    return _Ended(Lease(result.job_id, last_epoch + 1, attempt.owner, 0.0), attempt, result, makes)


def _end(work: Work, ended: Sequence[_Ended]) -> None:
    if not ended:
        return
    moves = [{"job": one.lease.job_id, "becomes": one.result.status.value, "next": one.lease.epoch} for one in ended]
    work.conn.execute(_END, moves)
    work.conn.execute(insert(attempts), [_attempt_row(one) for one in ended])
    refresh(work, [one.lease.job_id for one in ended])
    for one in ended:
        write_result(work, one.lease, one.result)
        if one.makes is not None:
            add_artifact(work, one.makes, one.result)
        elif one.result.status is Status.DONE:
            refresh_waiting(work, one.result.job_id)
    for status in {one.result.status for one in ended}:
        lines = [
            (one.lease.job_id, one.attempt.sweep or None, {"epoch": one.lease.epoch, "imported": True})
            for one in ended
            if one.result.status is status
        ]
        log_all(work, f"job_{status.value}", lines)


def _attempt_row(one: _Ended) -> dict[str, Any]:
    return {
        **vars(one.attempt),
        "job_id": one.lease.job_id,
        "lease_epoch": one.lease.epoch,
        "outcome": one.result.status.value,
    }


def _join_sweeps(work: Work, snapshot: Snapshot) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the sweeps that are new, and of those known under another spec that gained members."""
    here = {name: text for name, text in work.conn.execute(select(sweeps.c.name, sweeps.c.spec))}
    new, widened = [], []
    for name, spec in snapshot.specs.items():
        if name not in here:
            add_sweep(work, name, spec, snapshot.studies.get(name))
            new.append(name)
        members = set(work.conn.scalars(select(sweep_jobs.c.job_id).where(sweep_jobs.c.sweep == name)))
        gained = {
            kept.job.job_id: _entry(kept, place)
            for kept in snapshot.jobs
            for place in kept.places
            if place.sweep == name and kept.job.job_id not in members
        }
        if gained and here.get(name, spec) != spec:
            widened.append(name)
        add_members(work, name, gained)
        if gained or name not in here:
            refresh_sweep(work, name)
            log(work, "sweep_saved", {"new": len(gained), "known": len(members), "dropped": 0}, sweep=name)
    return tuple(new), tuple(widened)


def _entry(kept: KeptJob, place: Place) -> Entry:
    return Entry(kept.job, place.order, place.row, place.resources, place.tuned)
