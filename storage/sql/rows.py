"""Between records and rows: JSON text, lists of ids in portions, and the log."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import insert

from storage.records import ArtifactKey, EpochMetrics, Job, Result
from storage.sql.engine import Work
from storage.sql.tables import events

IN_PORTION = 500
"""Ids per IN (...): far below every database's limit on parameters."""

_ADD_EVENT = insert(events).inline()


to_text = json.JSONEncoder(separators=(",", ":")).encode
"""JSON without spaces."""


def job_from(record: str) -> Job:
    return Job.from_json(json.loads(record))


def result_text(result: Result) -> str:
    """The result without its curve, which has a table of its own."""
    return json.dumps({**vars(result), "epochs": ()}, separators=(",", ":"), default=_plain)


def _plain(value: object) -> object:
    """A mapping that is no dict, or the failure; `asdict` over a whole result would cost four times the encoding."""
    return dict(value) if isinstance(value, Mapping) else vars(value)


def result_from(record: str) -> Result:
    return Result.from_json(json.loads(record))


def epoch_row(job_id: str, epoch: EpochMetrics) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "epoch": epoch.epoch,
        "metrics": to_text(dict(epoch.metrics)),
        "wall_s": epoch.wall_s,
    }


def key_ids(keys: Iterable[ArtifactKey]) -> list[str]:
    """Each key's id once, in order."""
    return list(dict.fromkeys(key.key_id for key in keys))


def portions(ids: Iterable[str]) -> Iterator[list[str]]:
    """The distinct ids, at most IN_PORTION at a time."""
    distinct = list(dict.fromkeys(ids))
    for start in range(0, len(distinct), IN_PORTION):
        yield distinct[start : start + IN_PORTION]


@contextmanager
def many_records() -> Iterator[None]:
    """Pause the cyclic garbage collector: it would walk all records again and again while thousands are made (records
    have no cycles; measured: 2.5 times the time)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def log(work: Work, kind: str, data: Mapping[str, Any], *, job_id: str | None = None, sweep: str | None = None) -> None:
    """Append one line to the log, in the same transaction."""
    log_all(work, kind, [(job_id, sweep, data)])


def log_all(work: Work, kind: str, lines: Sequence[tuple[str | None, str | None, Mapping[str, Any]]]) -> None:
    """Append a line for each (job id, sweep, data)."""
    rows = [
        {"kind": kind, "at_s": work.now_s, "job_id": job_id, "sweep": sweep, "data": to_text(dict(data))}
        for job_id, sweep, data in lines
    ]
    if rows:
        work.conn.execute(_ADD_EVENT, rows)
