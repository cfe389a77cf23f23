"""Opening the store that a URL or a path names."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from storage.sql.engine import Clock
from storage.sql.store import SqlStore
from storage.store import Store, StoreUnavailable

_EXPECTED = "expected a path, sqlite:///PATH, sqlite:// (in memory) or postgresql://USER:PASSWORD@HOST/DATABASE"


def open_store(url_or_path: str | os.PathLike[str], *, clock: Clock | None = None) -> Store:
    """The store at that place, made if it is not there, upgraded if it is older.

    `clock` gives the time in seconds since the Unix epoch; by default the database server's, on SQLite this
    machine's. Raises StoreUnavailable when it cannot be opened, SchemaTooNew when a newer Sweepboard made it.
    """
    url = _url(os.fspath(url_or_path))
    try:
        return SqlStore(url, clock)
    except ModuleNotFoundError as error:
        raise StoreUnavailable(
            f"a PostgreSQL store needs the package {error.name}: pip install 'sweepboard[postgres]'"
        ) from error


def _url(text: str) -> URL:
    if "://" not in text:
        return URL.create("sqlite", database=str(Path(text).absolute()))
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise StoreUnavailable(f"the store's address cannot be read ({error}); {_EXPECTED}") from error
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.drivername != "sqlite":
        raise StoreUnavailable(f"no store can be kept in {url.drivername!r}; {_EXPECTED}")
    return url
