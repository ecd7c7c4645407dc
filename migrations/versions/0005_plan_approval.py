"""plans wait for approval where a human must give it; cancel_requests tell other processes what to stop."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UPGRADE = (
    """
    ALTER TABLE plans
        ADD COLUMN needs_approval BOOLEAN NOT NULL DEFAULT false,
        ADD COLUMN approved_by TEXT,
        ADD COLUMN approved_at TIMESTAMPTZ
    """,
    # One row a run: whoever asks first is in the record. Retention drops them after a day.
    """
    CREATE TABLE cancel_requests (
        operation_id UUID PRIMARY KEY,
        requested_by TEXT NOT NULL,
        requested_at TIMESTAMPTZ NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE FUNCTION infrastructor_cancel_requested() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('infrastructor_cancel_requests', '');
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER cancel_requests_heard AFTER INSERT ON cancel_requests
    FOR EACH STATEMENT EXECUTE FUNCTION infrastructor_cancel_requested()
    """,
)

DOWNGRADE = (
    "DROP TABLE cancel_requests",
    "DROP FUNCTION infrastructor_cancel_requested()",
    "ALTER TABLE plans DROP COLUMN needs_approval, DROP COLUMN approved_by, DROP COLUMN approved_at",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
