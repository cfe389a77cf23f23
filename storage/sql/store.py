"""SqlStore: the store's promises kept by SQL transactions, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import URL

from storage.records import ArtifactKey, EpochMetrics, Lease, Result, Status, Trial
from storage.snapshot import Absorbed, Snapshot
from storage.sql import absorbing, finishing, leasing, reading, snapshots, states, sweeps
from storage.sql import trials as asked
from storage.sql.engine import Clock, Database
from storage.sql.rows import log, many_records
from storage.sql.schema import ensure_schema
from storage.store import Entry, Event, JobState, SweepChange


class SqlStore:
    """`storage.store.Store` on a SQL database; each method is one transaction (see the protocol for the promises)."""

    def __init__(self, url: URL, clock: Clock | None = None) -> None:
        """Connects, and creates or upgrades the schema. Raises StoreUnavailable, SchemaTooNew."""
        self._database = Database(url, clock)
        try:
            ensure_schema(self._database)
        except BaseException:
            self._database.close()
            raise

    def save_sweep(
        self, name: str, spec: str, entries: Sequence[Entry], studies: Sequence[str] | None = None
    ) -> SweepChange:
        with many_records(), self._database.write() as work:
            return sweeps.save(work, name, spec, entries, studies)

    def extend(self, sweep: str, entries: Sequence[Entry], trials: Sequence[Trial] = ()) -> tuple[Trial, ...]:
        with self._database.write() as work:
            return asked.extend(work, sweep, entries, trials)

    def end_trials(self, trials: Sequence[Trial]) -> None:
        with self._database.write() as work:
            asked.end(work, trials)

    def trials(self, studies: Iterable[str]) -> list[Trial]:
        with self._database.read() as conn:
            return asked.of_studies(conn, studies)

    def studies(self, sweep: str) -> tuple[str, ...]:
        with self._database.read() as conn:
            return asked.studies(conn, sweep)

    def sweeps(self) -> tuple[str, ...]:
        with self._database.read() as conn:
            return reading.sweep_names(conn)

    def spec(self, sweep: str) -> str:
        with self._database.read() as conn:
            return reading.spec(conn, sweep)

    def claim(
        self, sweep: str, owner: str, limit: int, ttl_s: float, only: Sequence[str] | None = None
    ) -> list[tuple[Entry, Lease]]:
        with self._database.write() as work:
            if only is None:
                claimed = leasing.claim(work, sweep, owner, limit, ttl_s)
            else:
                claimed = leasing.claim_of(work, sweep, (owner, limit, ttl_s), only)
            if not claimed:
                reading.require_sweep(work.conn, sweep)
            return claimed

    def start(self, lease: Lease) -> None:
        with self._database.write() as work:
            leasing.start(work, lease)

    def renew(self, leases: Sequence[Lease], ttl_s: float) -> dict[str, Lease]:
        with self._database.write() as work:
            return leasing.renew(work, leases, ttl_s)

    def leases(self, sweep: str) -> list[Lease]:
        with self._database.read() as conn:
            return reading.leases(conn, sweep)

    def expire(self) -> list[str]:
        with self._database.write() as work:
            return leasing.expire(work)

    def release(self, lease: Lease, cause: str, *, counted: bool = False) -> None:
        with self._database.write() as work:
            leasing.release(work, lease, cause, counted)

    def finish(self, lease: Lease, result: Result) -> None:
        with self._database.write() as work:
            finishing.finish(work, lease, result)

    def record_epoch(self, lease: Lease, epoch: EpochMetrics) -> None:
        with self._database.write() as work:
            finishing.record_epoch(work, lease, epoch)

    def counted_failures(self, job_id: str) -> int:
        with self._database.read() as conn:
            return reading.counted_failures(conn, job_id)

    def set_status(self, job_ids: Iterable[str], status: Status) -> list[str]:
        with self._database.write() as work:
            return states.move(work, job_ids, status)

    def jobs(self, sweep: str | None = None, status: Status | None = None) -> list[JobState]:
        with self._database.read() as conn:
            return reading.job_states(conn, sweep, status)

    def job(self, job_id: str) -> JobState:
        with self._database.read() as conn:
            return reading.one_job(conn, job_id)

    def known(self, job_ids: Iterable[str]) -> dict[str, Status]:
        with self._database.read() as conn:
            return reading.known(conn, job_ids)

    def counts(self, sweep: str) -> dict[Status, int]:
        with self._database.read() as conn:
            return reading.counts(conn, sweep)

    def artifacts(self, keys: Iterable[ArtifactKey]) -> dict[str, str]:
        with self._database.read() as conn:
            return reading.paths(conn, keys)

    def epochs(self, job_id: str) -> list[EpochMetrics]:
        with self._database.read() as conn:
            return reading.epochs(conn, job_id)

    def events(self, after: int = 0, limit: int = 1000, kind: str | None = None) -> list[Event]:
        with self._database.read() as conn:
            return reading.log_lines(conn, after, limit, kind)

    def append_event(self, kind: str, data: Mapping[str, Any], *, job_id: str | None = None) -> None:
        with self._database.write() as work:
            log(work, kind, data, job_id=job_id)

    def snapshot(self, sweeps: Sequence[str] | None = None) -> Snapshot:
        with many_records(), self._database.read() as conn:
            return snapshots.snapshot(conn, sweeps)

    def absorb(self, snapshot: Snapshot) -> Absorbed:
        with many_records(), self._database.write() as work:
            return absorbing.absorb(work, snapshot)

    def close(self) -> None:
        self._database.close()
