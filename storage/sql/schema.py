"""Which schema the database has, and how it gets the one that this version reads."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from sqlalchemy import Connection, inspect, text

import storage.migrations
from storage.sql.engine import Database
from storage.sql.tables import metadata
from storage.store import SchemaTooNew

HEAD = "0004"
"""The newest revision, written here so that opening an up-to-date store does not load Alembic."""

VERSION_TABLE = "sweepboard_version"
"""Alembic's table under a name of its own: MLflow and Optuna keep theirs under the default one."""


_ALEMBIC = Lock()
"""Alembic keeps its context in module globals: threads that open two stores upgrade them one after another."""


def ensure_schema(database: Database) -> None:
    """Create or upgrade the tables; processes that open a new store together take turns.

    Raises SchemaTooNew for a database of a newer Sweepboard, StoreUnavailable for one that is somebody else's.
    """
    with database.read() as conn:
        if _version(conn) == HEAD:
            return
    with database.write() as work:
        version = _version(work.conn)
        if version is None:
            _refuse_foreign_tables(database, work.conn)
        if version != HEAD:
            _upgrade(work.conn, version)


def _version(conn: Connection) -> str | None:
    if not inspect(conn).has_table(VERSION_TABLE):
        return None
    version: str | None = conn.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}"))
    return version


def _refuse_foreign_tables(database: Database, conn: Connection) -> None:
    foreign = sorted(set(inspect(conn).get_table_names()) & set(metadata.tables))
    if foreign:
        raise database.unavailable(
            f"it has tables that Sweepboard did not make ({', '.join(foreign)})",
            "Name an empty database (or schema), or a Sweepboard store, in SWEEPBOARD_STORE",
        )


def _upgrade(conn: Connection, version: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    folder = str(Path(storage.migrations.__file__).parent)
    config = Config()
    config.set_main_option("script_location", folder.replace("%", "%%"))
    config.attributes["connection"] = conn
    ours = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in ours:
        raise SchemaTooNew(
            f"the store has schema {version}, made by a newer Sweepboard; this one knows up to {HEAD}. "
            "Update Sweepboard, or use another store (SWEEPBOARD_STORE)"
        )
    with _ALEMBIC:
        command.upgrade(config, "head")
