"""Which searches belong to a sweep: two sweeps, or two specs of one, may ask for the same jobs."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("sweeps", sa.Column("studies", sa.Text))
