"""system_metrics: one row per device and sample, partitioned by week."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UPGRADE = (
    # The founding key is `id`; PostgreSQL wants the partition column in every unique key.
    """
    CREATE TABLE system_metrics (
        id UUID NOT NULL,
        device_id UUID NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
        timestamp TIMESTAMPTZ NOT NULL,
        cpu_usage_percent DECIMAL(5,2),
        memory_usage_percent DECIMAL(5,2),
        disk_usage_percent DECIMAL(5,2),
        load_average_1m DECIMAL(6,2),
        uptime_seconds BIGINT,
        metadata JSONB NOT NULL DEFAULT '{}',
        PRIMARY KEY (id, timestamp)
    ) PARTITION BY RANGE (timestamp)
    """,
    "CREATE INDEX idx_system_metrics_device_time ON system_metrics (device_id, timestamp DESC)",
    "CREATE INDEX idx_system_metrics_timestamp ON system_metrics (timestamp)",
    "CREATE TABLE system_metrics_default PARTITION OF system_metrics DEFAULT",
    """
    SELECT infrastructor_create_partition('system_metrics', week::date, (week + interval '7 days')::date)
    FROM generate_series(
        date_trunc('week', now() AT TIME ZONE 'UTC') - interval '7 days',
        date_trunc('week', now() AT TIME ZONE 'UTC') + interval '28 days', interval '7 days'
    ) AS week
    """,
)

DOWNGRADE = ("DROP TABLE system_metrics",)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
