"""What an attempt brings: its epochs while it runs, its result at the end, the artifact that it made."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, bindparam, delete, exists, insert, or_, select, update

from storage.records import EpochMetrics, FailureClass, Lease, Result, Status
from storage.sql.engine import Work
from storage.sql.leasing import EXPIRED, VALID, change, end_attempt
from storage.sql.rows import epoch_row, log, result_text
from storage.sql.states import refresh_waiting
from storage.sql.tables import artifacts, attempts, epoch_metrics, jobs, results
from storage.store import IllegalMove, StoreError

_NOT_THE_JOBS_FAULT = frozenset({FailureClass.NODE_LOST, FailureClass.PREEMPTED, FailureClass.TRANSIENT})

_EXPIRED_ONLY = and_(
    jobs.c.job_id == bindparam("job"),
    jobs.c.lease_epoch == bindparam("epoch"),
    or_(jobs.c.status == Status.PENDING.value, jobs.c.status == Status.HELD.value),
    exists().where(
        attempts.c.job_id == jobs.c.job_id,
        attempts.c.lease_epoch == jobs.c.lease_epoch,
        attempts.c.outcome == EXPIRED,
    ),
)
_FINISH = (
    update(jobs)
    .where(or_(VALID, _EXPIRED_ONLY))
    .values(status=bindparam("becomes"), lease_until_s=None)
    .returning(jobs.c.makes)
)
_IS_VALID = select(exists().where(VALID))
_ADD_RESULT = insert(results)
_ADD_EPOCH = insert(epoch_metrics)
_FORGET_RESULT = delete(results).where(results.c.job_id == bindparam("job"))
_FORGET_CURVE = delete(epoch_metrics).where(
    epoch_metrics.c.job_id == bindparam("job"), epoch_metrics.c.epoch >= bindparam("first")
)


def finish(work: Work, lease: Lease, result: Result) -> None:
    """See `Store.finish`.

    A result that comes after its lease expired is taken as long as no other attempt began: the work is done, and a
    driver that was away for a while loses nothing.
    """
    if result.job_id != lease.job_id:
        raise StoreError(f"the result is of job {result.job_id}, the lease of job {lease.job_id}; nothing was written")
    if not result.status.is_finished:
        expected = ", ".join(status for status in Status if status.is_finished)
        raise IllegalMove(f"a result cannot have status {result.status.value!r}; expected one of {expected}")
    makes = change(work, lease, _FINISH, {"becomes": result.status.value})
    failure = result.failure
    counted = failure is not None and failure.failure_class not in _NOT_THE_JOBS_FAULT
    sweep = end_attempt(work, lease, result.status.value, counted)
    write_result(work, lease, result)
    if makes is not None and result.status is Status.DONE:
        add_artifact(work, makes, result)
    elif result.status is Status.DONE:
        refresh_waiting(work, lease.job_id)
    data: dict[str, Any] = {"epoch": lease.epoch}
    if failure is not None:
        data |= {"failure_class": failure.failure_class.value, "message": failure.message}
    log(work, f"job_{result.status.value}", data, job_id=lease.job_id, sweep=sweep)


def write_result(work: Work, lease: Lease, result: Result) -> None:
    """Put the result and its curve in the place of an earlier attempt's. The attempt's row is there already."""
    if lease.epoch > 1:  # an earlier attempt that failed, and was retried, may have left one
        work.conn.execute(_FORGET_RESULT, {"job": lease.job_id})
    row = {
        "job_id": lease.job_id,
        "lease_epoch": lease.epoch,
        "status": result.status.value,
        "record": result_text(result),
        "finished_s": work.now_s,
    }
    work.conn.execute(_ADD_RESULT, row)
    if result.epochs or result.status is Status.DONE:  # else the curve seen so far stays
        work.conn.execute(_FORGET_CURVE, {"job": lease.job_id, "first": 0})
    if result.epochs:
        work.conn.execute(_ADD_EPOCH, [epoch_row(lease.job_id, epoch) for epoch in result.epochs])


def add_artifact(work: Work, key_id: str, result: Result) -> None:
    """Say where the artifact lies, and let go the jobs that wait for it. Raises StoreError when the result does not."""
    path = result.files.get("artifact")
    if path is None:
        raise StoreError(
            f"job {result.job_id} makes the artifact {key_id}, but its result names no file 'artifact' "
            f"(files: {', '.join(sorted(result.files)) or 'none'}); nothing was written"
        )
    work.conn.execute(delete(artifacts).where(artifacts.c.key_id == key_id))
    row = {"key_id": key_id, "path": path, "job_id": result.job_id, "created_s": work.now_s}
    work.conn.execute(insert(artifacts), row)
    refresh_waiting(work, key_id)


def record_epoch(work: Work, lease: Lease, epoch: EpochMetrics) -> None:
    """See `Store.record_epoch`.

    An epoch makes the later ones of earlier attempts void: a resumed attempt goes on with the curve, one that began
    anew replaces it.
    """
    if work.conn.scalar(_IS_VALID, {"job": lease.job_id, "epoch": lease.epoch}):
        work.conn.execute(_FORGET_CURVE, {"job": lease.job_id, "first": epoch.epoch})
        work.conn.execute(_ADD_EPOCH, epoch_row(lease.job_id, epoch))
        log(work, "progress", {"epoch": lease.epoch, "train_epoch": epoch.epoch}, job_id=lease.job_id)
