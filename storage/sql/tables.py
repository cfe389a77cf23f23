"""The tables, as queries see them. Migrations create them; a test checks that both agree.

Records are JSON text (not a JSON type): the store hands them back byte for byte and never searches inside.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
)

BLOCKED = "blocked"
"""State of a sweep_jobs row whose job is pending and lacks an artifact; outside it is just pending."""

metadata = MetaData()
_Serial = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only in a plain INTEGER key

sweeps = Table(
    "sweeps",
    metadata,
    Column("sweep_id", _Serial, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("spec", Text, nullable=False),
    Column("created_s", Double, nullable=False),
    Column("saved_s", Double, nullable=False),
    Column("studies", Text),  # ids of its searches; none: an older version saved it, and its jobs tell
)

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("phase", Text, nullable=False),
    Column("record", Text, nullable=False),
    Column("makes", Text),
    Column("status", Text, nullable=False),
    Column("lease_epoch", Integer, nullable=False),
    Column("lease_until_s", Double),  # set exactly while a lease is valid: the job is leased or running
    Column("forgiven_epoch", Integer, nullable=False),  # attempts up to here no longer count: a person said retry
    Column("created_s", Double, nullable=False),
    Index("jobs_by_lease", "lease_until_s"),
)

# `state` mirrors jobs.status (or says "blocked"), so that a claim and a count read one index, however many jobs
# are finished or waiting. Every change of a job's status or of an artifact refreshes it in the same transaction.
sweep_jobs = Table(
    "sweep_jobs",
    metadata,
    Column("sweep", ForeignKey("sweeps.name"), primary_key=True),
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("row", Text, nullable=False),
    Column("resources", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("tuned", Text),  # which search chose the job's values
    Index("sweep_jobs_by_state", "sweep", "state", "ordinal", "job_id"),
    Index("sweep_jobs_by_job", "job_id"),
)

needs = Table(
    "needs",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("key_id", Text, primary_key=True),
    Index("needs_by_key", "key_id"),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("path", Text, nullable=False),
    Column("job_id", ForeignKey("jobs.job_id"), nullable=False),
    Column("created_s", Double, nullable=False),
)

attempts = Table(
    "attempts",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("lease_epoch", Integer, primary_key=True),
    Column("sweep", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("leased_s", Double, nullable=False),
    Column("started_s", Double),
    Column("ended_s", Double),
    Column("outcome", Text),  # a status, "expired", or the cause given to release
    Column("counted", Boolean, nullable=False),
)

results = Table(
    "results",
    metadata,
    Column("job_id", Text, primary_key=True),
    Column("lease_epoch", Integer, nullable=False),
    Column("status", Text, nullable=False),  # after a retry it differs from the job's: the result is no longer shown
    Column("record", Text, nullable=False),  # without the curve, which is in epoch_metrics
    Column("finished_s", Double, nullable=False),
    ForeignKeyConstraint(["job_id", "lease_epoch"], ["attempts.job_id", "attempts.lease_epoch"]),
)

epoch_metrics = Table(
    "epoch_metrics",
    metadata,
    Column("job_id", ForeignKey("jobs.job_id"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("metrics", Text, nullable=False),
    Column("wall_s", Double, nullable=False),
)

trials = Table(
    "trials",
    metadata,
    Column("study", Text, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("job_id", ForeignKey("jobs.job_id")),  # none: the values cannot be run
    Column("params", Text, nullable=False),
    Column("attrs", Text, nullable=False),
    Column("refusal", Text, nullable=False),
    Column("bound", Text),  # [metric, highest value]
    Column("end", Text),  # none: its study has not heard of its end
    Column("asked_s", Double, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("event_id", _Serial, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at_s", Double, nullable=False),
    Column("job_id", Text),
    Column("sweep", Text),
    Column("data", Text, nullable=False),
)
