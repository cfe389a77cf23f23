"""Alembic's entry: runs the revisions on the connection it is given, inside the caller's transaction and lock."""

from __future__ import annotations

from alembic import context

from storage.sql.schema import VERSION_TABLE
from storage.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,  # true of SQLite too, because the store begins its transactions itself
)
context.run_migrations()
