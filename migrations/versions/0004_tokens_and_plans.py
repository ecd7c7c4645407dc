"""api_tokens and plans: hashed secrets of callers, and destructive plans waiting for their confirmation."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UPGRADE = (
    """
    CREATE TABLE api_tokens (
        id UUID PRIMARY KEY,
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        secret_hash TEXT NOT NULL UNIQUE,
        created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        expires_at TIMESTAMPTZ,
        last_used_at TIMESTAMPTZ,
        revoked_at TIMESTAMPTZ
    )
    """,
    "CREATE UNIQUE INDEX idx_api_tokens_name ON api_tokens (name) WHERE revoked_at IS NULL",
    """
    CREATE TABLE plans (
        id UUID PRIMARY KEY,
        token_hash TEXT NOT NULL UNIQUE,
        operation TEXT NOT NULL,
        principal TEXT NOT NULL,
        device_id UUID,
        params_hash TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        body JSONB NOT NULL,
        created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        expires_at TIMESTAMPTZ NOT NULL,
        used_at TIMESTAMPTZ
    )
    """,
    "CREATE INDEX idx_plans_expires ON plans (expires_at)",
)

DOWNGRADE = ("DROP TABLE plans", "DROP TABLE api_tokens")


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
