"""deployments: what an interrupted deployment leaves to be finished or undone."""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

UPGRADE = (
    """
    CREATE TABLE deployments (
        operation_id UUID PRIMARY KEY,
        device_id UUID NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
        stack TEXT NOT NULL,
        folder TEXT NOT NULL,
        before JSONB NOT NULL,
        step TEXT NOT NULL,
        started_at TIMESTAMPTZ NOT NULL,
        touched_at TIMESTAMPTZ NOT NULL,
        finished_at TIMESTAMPTZ,
        outcome TEXT,
        message TEXT
    )
    """,
    # At most one of a stack is under way, whichever processes try.
    "CREATE UNIQUE INDEX idx_deployments_unfinished ON deployments (device_id, stack) WHERE finished_at IS NULL",
    "CREATE INDEX idx_deployments_stack ON deployments (device_id, stack, started_at DESC)",
)

DOWNGRADE = ("DROP TABLE deployments",)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
