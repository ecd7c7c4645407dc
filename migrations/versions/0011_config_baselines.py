"""config_baselines, what was declared to be right; config_expected_writes, what we are about to write."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# A path of 4,095 bytes does not fit into a B-tree: its hash stands for it.
UPGRADE = (
    """
    CREATE TABLE config_baselines (
        device_id UUID NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
        path TEXT COLLATE "C" NOT NULL,
        time TIMESTAMPTZ NOT NULL,
        pinned_by TEXT NOT NULL,
        pinned_at TIMESTAMPTZ NOT NULL,
        note TEXT
    )
    """,
    "CREATE UNIQUE INDEX idx_config_baselines_path ON config_baselines (device_id, md5(path))",
    # What an operation of ours is about to write, so that the version with that content is known to be its work.
    """
    CREATE TABLE config_expected_writes (
        device_id UUID NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
        path_key UUID NOT NULL,
        content_hash BYTEA NOT NULL,
        operation_id UUID NOT NULL,
        expires_at TIMESTAMPTZ NOT NULL,
        PRIMARY KEY (device_id, path_key, content_hash)
    )
    """,
)

DOWNGRADE = ("DROP TABLE config_expected_writes", "DROP TABLE config_baselines")


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
