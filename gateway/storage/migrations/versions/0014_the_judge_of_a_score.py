"""Which judge gave a score, and how judges did against labelled examples."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("scores", sa.Column("judge", sa.String(length=64), nullable=False, server_default=""))
    op.create_table(
        "judge_calibrations",
        sa.Column("tenant", sa.String(length=200), nullable=False),
        sa.Column("judge", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=200), nullable=False),
        sa.Column("right_from", sa.Float(), nullable=False),
        sa.Column("true_right", sa.Integer(), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.Column("true_wrong", sa.Integer(), nullable=False),
        sa.Column("false_right", sa.Integer(), nullable=False),
        sa.Column("calibrated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "judge"),
    )


def downgrade() -> None:
    op.drop_table("judge_calibrations")
    with op.batch_alter_table("scores") as table:
        table.drop_column("judge")
