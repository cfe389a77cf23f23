"""What dead drivers left: results that were spooled and never stored, and jobs that nobody works on."""

from __future__ import annotations

import logging
from pathlib import Path

from orchestrator.owners import is_dead
from storage.files import read_spool
from storage.records import Lease
from storage.records.spool import parse_spool
from storage.store import StaleLease, Store, StoreError
from workers.pools.protocol import Done, Lost

log = logging.getLogger(__name__)


def take_back(store: Store, sweep: str, home: Path) -> None:
    """Record results that were spooled and never stored; free jobs held by dead drivers of this host."""
    for path, lease, result in read_spool(home):
        try:
            store.finish(lease, result)
            log.info("job %s: result read in from the spool", result.job_id)
        except StaleLease:
            log.debug("job %s: spooled result of an old attempt dropped", result.job_id)
        except StoreError as error:  # of another store, say: one stray file must not stop every run
            log.warning("%s is left where it is: %s", path, error)
            continue
        path.unlink(missing_ok=True)
    store.expire()
    for held in store.leases(sweep):
        if is_dead(held.owner):
            store.release(held, "its driver is gone")


def as_spooled(home: Path, lease: Lease, lost: Lost) -> Done | Lost:
    """The end of that attempt: it may have spooled its result, and only the word of it was lost with the process."""
    try:
        spooled, result = parse_spool(spool_of(home, lease))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return lost
    is_its_own = (spooled.job_id, spooled.epoch, spooled.owner) == (lease.job_id, lease.epoch, lease.owner)
    return Done(lost.job_id, lost.lease_epoch, result, lost.slot) if is_its_own else lost


def spool_of(home: Path, lease: Lease) -> Path:
    """Where the worker of that attempt spools its result."""
    return home / "spool" / f"{lease.job_id}.{lease.epoch}.json"
