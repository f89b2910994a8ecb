"""Pairs of similar questions, and what they prove."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "semantic_pairs",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=200), nullable=False),
        sa.Column("prompt", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("recipe", sa.String(length=200), nullable=False),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("kept", sa.Text(), nullable=False),
        sa.Column("similarity", sa.Float(), nullable=False),
        sa.Column("veto", sa.String(length=24), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("served", sa.Boolean(), nullable=False),
        sa.Column("fresh_answer", sa.Text(), nullable=False),
        sa.Column("kept_answer", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("correct", sa.Boolean(), nullable=True),
        sa.Column("judged_at", sa.Float(), nullable=True),
        sa.Column("source", sa.String(length=16), nullable=False, server_default=""),
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        sa.Column("tries", sa.Integer(), nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_semantic_pairs_scope", "semantic_pairs", ["tenant", "prompt", "version", "recipe", "judged_at"])
    op.create_index("ix_semantic_pairs_judged", "semantic_pairs", ["judged_at", "at"])
    op.create_table(
        "semantic_verdicts",
        sa.Column("tenant", sa.String(length=200), nullable=False),
        sa.Column("prompt", sa.String(length=200), nullable=False),
        sa.Column("version", sa.String(length=40), nullable=False),
        sa.Column("recipe", sa.String(length=200), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("fit_pairs", sa.Integer(), nullable=False),
        sa.Column("pairs", sa.Integer(), nullable=False),
        sa.Column("wrong", sa.Integer(), nullable=False),
        sa.Column("rate", sa.Float(), nullable=False),
        sa.Column("upper", sa.Float(), nullable=False),
        sa.Column("lower", sa.Float(), nullable=False),
        sa.Column("max_wrong", sa.Float(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "prompt", "version", "recipe"),
    )


def downgrade() -> None:
    op.drop_table("semantic_verdicts")
    op.drop_table("semantic_pairs")
