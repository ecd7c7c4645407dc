"""drive_baselines: counts of a drive that somebody looked at and accepted."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

UPGRADE = (
    """
    CREATE TABLE drive_baselines (
        device_id UUID NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
        drive TEXT NOT NULL,
        counters JSONB NOT NULL,
        accepted_at TIMESTAMPTZ NOT NULL,
        accepted_by TEXT NOT NULL,
        PRIMARY KEY (device_id, drive)
    )
    """,
)

DOWNGRADE = ("DROP TABLE drive_baselines",)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
