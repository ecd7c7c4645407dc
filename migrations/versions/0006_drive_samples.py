"""drive_samples: counters of drives, one row for each change."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UPGRADE = (
    # Not partitioned: a drive at rest writes nothing, so this stays small.
    """
    CREATE TABLE drive_samples (
        device_id UUID NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
        drive TEXT NOT NULL,
        sampled_at TIMESTAMPTZ NOT NULL,
        counters JSONB NOT NULL,
        PRIMARY KEY (device_id, drive, sampled_at)
    )
    """,
    "CREATE INDEX idx_drive_samples_sampled_at ON drive_samples (sampled_at)",
)

DOWNGRADE = ("DROP TABLE drive_samples",)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
