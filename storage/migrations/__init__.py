"""Alembic's folder: the only thing that creates or changes the schema."""
