"""A snapshot of the store, or of some sweeps with all that their jobs rest on."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from storage.records import EpochMetrics, Status, Trial, Tuned
from storage.snapshot import Attempt, KeptJob, Place, Snapshot
from storage.sql.reading import require_sweep, spec, sweep_names
from storage.sql.rows import job_from, portions, result_from
from storage.sql.tables import attempts, epoch_metrics, jobs, results, sweep_jobs, trials
from storage.sql.trials import of_studies, studies_saved

_ATTEMPT = (attempts.c.sweep, attempts.c.owner, attempts.c.leased_s, attempts.c.started_s, attempts.c.ended_s)
_KEPT = (
    select(jobs.c.job_id, jobs.c.record, jobs.c.status, results.c.record, *_ATTEMPT, attempts.c.counted)
    .select_from(
        jobs.outerjoin(results, and_(results.c.job_id == jobs.c.job_id, results.c.status == jobs.c.status)).outerjoin(
            attempts, and_(attempts.c.job_id == results.c.job_id, attempts.c.lease_epoch == results.c.lease_epoch)
        )
    )
    .order_by(jobs.c.created_s, jobs.c.job_id)
)


def snapshot(conn: Connection, names: Sequence[str] | None) -> Snapshot:
    """See `Store.snapshot`."""
    for name in names or ():
        require_sweep(conn, name)
    chosen = [name for name in sweep_names(conn) if names is None or name in names]
    places = _places(conn, chosen)
    rows = list(conn.execute(_KEPT)) if names is None else _with_foundations(conn, places)
    curves = _curves(conn, (row[0] for row in rows if row[3] is not None))
    kept = tuple(_kept(row, tuple(places.get(row[0], ())), curves.get(row[0], ())) for row in rows)
    specs = {name: spec(conn, name) for name in chosen}
    searches = {name: own for name in chosen if (own := studies_saved(conn, name)) is not None}
    return Snapshot(specs, kept, _trials(conn, {row[0] for row in rows}), searches)


def _trials(conn: Connection, job_ids: Collection[str]) -> tuple[Trial, ...]:
    """Of every study that one of the jobs belongs to: its trials up to the first whose job is not among them."""
    wanted = trials.c.study
    studies = {
        one for part in portions(job_ids) for one in conn.scalars(select(wanted).where(trials.c.job_id.in_(part)))
    }
    found: list[Trial] = []
    broken: set[str] = set()
    for one in of_studies(conn, studies):
        if one.job_id is not None and one.job_id not in job_ids:
            broken.add(one.study)
        if one.study not in broken:
            found.append(one)
    return tuple(found)


def _places(conn: Connection, names: Iterable[str]) -> dict[str, list[Place]]:
    """By job id."""
    found: dict[str, list[Place]] = {}
    for name in names:
        query = select(sweep_jobs).where(sweep_jobs.c.sweep == name).order_by(sweep_jobs.c.ordinal)
        for row in conn.execute(query):
            tuned = None if row.tuned is None else Tuned.from_json(json.loads(row.tuned))
            place = Place(name, row.ordinal, row.row, json.loads(row.resources), tuned)
            found.setdefault(row.job_id, []).append(place)
    return found


_Kept = Row[*tuple[Any, ...]]


def _with_foundations(conn: Connection, ids: Iterable[str]) -> list[_Kept]:
    """Those jobs, the jobs that made what they need, their parents, and so on."""
    found: dict[str, _Kept] = {}
    wanted = list(ids)
    while wanted:
        reached = [row for ids in portions(wanted) for row in conn.execute(_KEPT.where(jobs.c.job_id.in_(ids)))]
        found.update((row[0], row) for row in reached)
        rested_on = [job_from(row[1]) for row in reached]
        keys = [key.key_id for job in rested_on for key in job.needs]
        makers = (id_ for part in portions(keys) for id_ in conn.scalars(select(jobs.c.job_id).where(_makes(part))))
        parents = (job.parent for job in rested_on if job.parent is not None)
        wanted = [job_id for job_id in (*makers, *parents) if job_id not in found]
    return list(found.values())


def _makes(key_ids: Sequence[str]) -> Any:
    return jobs.c.makes.in_(key_ids)


def _curves(conn: Connection, ids: Iterable[str]) -> dict[str, list[EpochMetrics]]:
    found: dict[str, list[EpochMetrics]] = {}
    for portion in portions(ids):
        query = select(epoch_metrics).where(epoch_metrics.c.job_id.in_(portion)).order_by(epoch_metrics.c.epoch)
        for row in conn.execute(query):
            found.setdefault(row.job_id, []).append(EpochMetrics(row.epoch, json.loads(row.metrics), row.wall_s))
    return found


def _kept(row: _Kept, places: tuple[Place, ...], curve: Sequence[EpochMetrics]) -> KeptJob:
    _, record, status, result, *attempt = row
    job = job_from(record)
    if result is None:
        return KeptJob(job, Status(status), places)
    return KeptJob(job, Status(status), places, replace(result_from(result), epochs=tuple(curve)), Attempt(*attempt))
