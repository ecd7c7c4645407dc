"""tickets: what stands for a token once and for seconds, where a token may not be written."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# A crash may lose them: their holders ask for another.
UPGRADE = (
    """
    CREATE UNLOGGED TABLE tickets (
        ticket_hash TEXT PRIMARY KEY,
        token_id UUID NOT NULL,
        expires_at TIMESTAMPTZ NOT NULL
    )
    """,
    "CREATE INDEX idx_tickets_expires ON tickets (expires_at)",
)

DOWNGRADE = ("DROP TABLE tickets",)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
