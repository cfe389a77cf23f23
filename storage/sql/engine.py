"""The database behind the store: connections, transactions, the clock, and errors in words a person can act on."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, DataError, IntegrityError, InterfaceError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from storage.store import StoreUnavailable

Clock = Callable[[], float]
"""Seconds since the Unix epoch."""

_WAIT_S = 30.0
_PRAGMAS = (f"busy_timeout={int(_WAIT_S * 1000)}", "foreign_keys=ON", "synchronous=NORMAL")
_LOCK_AND_TIME = text(
    "SELECT pg_advisory_xact_lock(hashtextextended('sweepboard.' || current_schema(), 0)),"
    " extract(epoch FROM clock_timestamp())"
)
_ADVICE = (
    ("locked", "Another process holds it: try again; for drivers on several hosts use PostgreSQL"),
    ("readonly", "Make the file and its folder writable, or point SWEEPBOARD_HOME elsewhere"),
    ("read-only", "Write to the primary server, as a user who may"),
    ("full", "Free some space and run the same command again: nothing of this change was written"),
    ("no space", "Free some space and run the same command again: nothing of this change was written"),
    ("not a database", "Move the file away and restore a copy of it"),
    ("malformed", "Move the file away and restore a copy of it"),
    ("disk i/o", "Check the disk's health and its free space"),
    ("unable to open", "Check that the folder exists and can be written"),
    ("queuepool", "Too many threads use this store at once"),
)
_OTHER_ADVICE = {
    "sqlite": "Check the file and its folder",
    "postgresql": "Check that the server runs and that host, user, password and database of the URL are right",
}


@dataclass(frozen=True)
class Work:
    """One writing transaction: its connection and the store's time when it began (after waiting for the lock)."""

    conn: Connection
    now_s: float


class Database:
    """A pool of connections to SQLite or PostgreSQL.

    Writing transactions follow each other: BEGIN IMMEDIATE on SQLite, one advisory lock on PostgreSQL. They are
    short, and so the log's ids grow in the order of the commits: a reader of `events(after)` never misses one.
    """

    def __init__(self, url: URL, clock: Clock | None = None) -> None:
        self._url = url
        self._clock = clock
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self._engine = _sqlite_engine(url) if self.is_sqlite else _postgres_engine(url)
        self._writer = self._engine.execution_options(writes=True)
        # SQLite's readers see one state anyway; PostgreSQL's writers must not: they look after waiting for the lock.
        self._reader = (
            self._engine if self.is_sqlite else self._engine.execution_options(isolation_level="REPEATABLE READ")
        )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database and writes nothing. Raises StoreUnavailable."""
        with self._explained(), self._reader.begin() as conn:
            yield conn

    @contextmanager
    def write(self) -> Iterator[Work]:
        """A transaction that happens whole or not at all, alone among writers. Raises StoreUnavailable."""
        with self._explained(), self._writer.begin() as conn:
            now_s = time.time() if self.is_sqlite else float(conn.execute(_LOCK_AND_TIME).one()[1])
            yield Work(conn, now_s if self._clock is None else self._clock())

    def close(self) -> None:
        self._engine.dispose()

    def unavailable(self, problem: str, advice: str | None = None) -> StoreUnavailable:
        """The error that names this database, the problem and what to do about it."""
        lower = problem.lower()
        fallback = _OTHER_ADVICE["sqlite" if self.is_sqlite else "postgresql"]
        advice = advice or next((advice for needle, advice in _ADVICE if needle in lower), fallback)
        place = self._url.render_as_string(hide_password=True)
        return StoreUnavailable(f"the store {place} cannot be used: {problem.strip()}. {advice}.")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (IntegrityError, DataError, ProgrammingError):
            raise  # a defect of ours, not of the database
        except (DatabaseError, InterfaceError) as error:
            raise self.unavailable(str(error.orig)) from error
        except PoolTimeout as error:
            raise self.unavailable(str(error)) from error


def _sqlite_engine(url: URL) -> Engine:
    if url.database in (None, "", ":memory:"):
        # The one connection is the database: threads take turns on it.
        engine = create_engine(
            url,
            connect_args={"check_same_thread": False},
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            pool_timeout=_WAIT_S,
        )
    else:
        engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself: `begin` below does
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        _enter_wal(connection)

    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN IMMEDIATE" if conn.get_execution_options().get("writes") else "BEGIN")

    return engine


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Readers beside a writer. Two processes that switch a new file at once get "locked" without any wait."""
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _postgres_engine(url: URL) -> Engine:
    return create_engine(url, pool_pre_ping=True)
