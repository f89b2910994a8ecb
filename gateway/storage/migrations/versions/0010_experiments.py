"""A/B tests and bandits over the versions of a prompt, and what the ledger says of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
OPEN = sa.text("stage = 'open'")


def upgrade() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=200), nullable=False),
        sa.Column("prompt", sa.String(length=200), nullable=False),
        sa.Column("policy", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("arms", JSON, nullable=False),
        sa.Column("segments", JSON, nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_experiments_prompt", "experiments", ["tenant", "prompt", "started_at"])
    op.create_index(
        "ux_experiments_open",
        "experiments",
        ["tenant", "prompt"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.add_column("calls", sa.Column("experiment", sa.String(length=40), nullable=False, server_default=""))
    op.add_column("calls", sa.Column("segment", sa.String(length=500), nullable=False, server_default=""))
    op.add_column("calls", sa.Column("propensity", sa.Float(), nullable=True))
    op.add_column("calls", sa.Column("fell_back_from", sa.String(length=40), nullable=False, server_default=""))
    op.create_index("ix_calls_experiment", "calls", ["experiment", "started_at"])


def downgrade() -> None:
    op.drop_index("ix_calls_experiment", table_name="calls")
    with op.batch_alter_table("calls") as table:
        for column in ("fell_back_from", "propensity", "segment", "experiment"):
            table.drop_column(column)
    op.drop_table("experiments")
