"""Spooled results: a worker writes what came out before it returns it; a driver killed in between loses nothing.

The format of a spool file is JSON: {"lease_epoch": int, "owner": str, "result": Result.to_json()}.
"""

from __future__ import annotations

import json
from pathlib import Path

from storage.records.result import Lease, Result
from storage.records.whole import write_whole


def write_spool(path: Path, lease: Lease, result: Result) -> None:
    """Write the result of that attempt; `path` appears whole or not at all. Raises OSError."""
    record = {"lease_epoch": lease.epoch, "owner": lease.owner, "result": result.to_json()}
    write_whole(path, json.dumps(record))


def parse_spool(path: Path) -> tuple[Lease, Result]:
    """The attempt's lease (its time is long over: it names the attempt) and its result.

    Raises OSError when the file cannot be read, ValueError, KeyError, TypeError or AttributeError when it is no spool
    file of this version.
    """
    record = json.loads(path.read_text(encoding="utf-8"))
    result = Result.from_json(record["result"])
    epoch = record["lease_epoch"]
    if not isinstance(epoch, int):
        raise TypeError(f"lease_epoch is {epoch!r}; expected an integer")
    return Lease(result.job_id, epoch, str(record["owner"]), expires_s=0.0), result
