"""devices: every registered host."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UPGRADE = (
    """
    CREATE TABLE devices (
        id UUID PRIMARY KEY,
        hostname VARCHAR(255) UNIQUE NOT NULL,
        device_type VARCHAR(100) NOT NULL DEFAULT 'server',
        monitoring_enabled BOOLEAN NOT NULL DEFAULT true,
        ssh_port INTEGER NOT NULL DEFAULT 22,
        ssh_username VARCHAR(100),
        ssh_private_key_path VARCHAR(500),
        tags JSONB NOT NULL DEFAULT '{}',
        created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        updated_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        description TEXT,
        location TEXT,
        transport VARCHAR(20) NOT NULL DEFAULT 'ssh',
        address VARCHAR(255),
        jump VARCHAR(255),
        host_keys JSONB NOT NULL DEFAULT '[]'
    )
    """,
    "CREATE INDEX idx_devices_hostname ON devices (hostname)",
    "CREATE INDEX idx_devices_monitoring ON devices (monitoring_enabled)",
    "CREATE INDEX idx_devices_tags_gin ON devices USING GIN (tags)",
    """
    CREATE FUNCTION infrastructor_devices_changed() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('infrastructor_devices', '');
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER devices_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON devices
    FOR EACH STATEMENT EXECUTE FUNCTION infrastructor_devices_changed()
    """,
)

DOWNGRADE = (
    "DROP TABLE devices",
    "DROP FUNCTION infrastructor_devices_changed()",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
