"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    _sweeps_and_jobs()
    _attempts_and_results()


def _serial() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _sweeps_and_jobs() -> None:
    op.create_table(
        "sweeps",
        sa.Column("sweep_id", _serial(), primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
        sa.Column("saved_s", sa.Double, nullable=False),
    )
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("phase", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("makes", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("lease_epoch", sa.Integer, nullable=False),
        sa.Column("lease_until_s", sa.Double),
        sa.Column("forgiven_epoch", sa.Integer, nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
    )
    op.create_index("jobs_by_lease", "jobs", ["lease_until_s"])
    op.create_table(
        "sweep_jobs",
        sa.Column("sweep", sa.Text, sa.ForeignKey("sweeps.name"), primary_key=True),
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("row", sa.Text, nullable=False),
        sa.Column("resources", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_index("sweep_jobs_by_state", "sweep_jobs", ["sweep", "state", "ordinal", "job_id"])
    op.create_index("sweep_jobs_by_job", "sweep_jobs", ["job_id"])
    op.create_table(
        "needs",
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("key_id", sa.Text, primary_key=True),
    )
    op.create_index("needs_by_key", "needs", ["key_id"])
    op.create_table(
        "artifacts",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.job_id"), nullable=False),
        sa.Column("created_s", sa.Double, nullable=False),
    )


def _attempts_and_results() -> None:
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("lease_epoch", sa.Integer, primary_key=True),
        sa.Column("sweep", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("leased_s", sa.Double, nullable=False),
        sa.Column("started_s", sa.Double),
        sa.Column("ended_s", sa.Double),
        sa.Column("outcome", sa.Text),
        sa.Column("counted", sa.Boolean, nullable=False),
    )
    op.create_table(
        "results",
        sa.Column("job_id", sa.Text, primary_key=True),
        sa.Column("lease_epoch", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("finished_s", sa.Double, nullable=False),
        sa.ForeignKeyConstraint(["job_id", "lease_epoch"], ["attempts.job_id", "attempts.lease_epoch"]),
    )
    op.create_table(
        "epoch_metrics",
        sa.Column("job_id", sa.Text, sa.ForeignKey("jobs.job_id"), primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("wall_s", sa.Double, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("event_id", _serial(), primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("at_s", sa.Double, nullable=False),
        sa.Column("job_id", sa.Text),
        sa.Column("sweep", sa.Text),
        sa.Column("data", sa.Text, nullable=False),
    )
