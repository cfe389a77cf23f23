"""Trials of studies, and which search chose a final job's values."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("sweep_jobs", sa.Column("tuned", sa.Text))
    op.create_table(
        "trials",
        sa.Column("study", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.job_id")),
        sa.Column("params", sa.Text, nullable=False),
        sa.Column("attrs", sa.Text, nullable=False),
        sa.Column("refusal", sa.Text, nullable=False),
        sa.Column("bound", sa.Text),
        sa.Column("asked_s", sa.Double, nullable=False),
    )
