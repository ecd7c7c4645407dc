"""data_collection_audit: one append-only row per operation run, partitioned by month."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

UPGRADE = (
    # Partitions are named after their first day: data_collection_audit_20261101.
    """
    CREATE FUNCTION infrastructor_create_partition(parent TEXT, lower DATE, upper DATE) RETURNS BOOLEAN
    LANGUAGE plpgsql AS $$
    DECLARE
        child TEXT := parent || '_' || to_char(lower, 'YYYYMMDD');
    BEGIN
        IF to_regclass(child) IS NOT NULL THEN
            RETURN false;
        END IF;
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, parent,
            lower::timestamp AT TIME ZONE 'UTC', upper::timestamp AT TIME ZONE 'UTC'
        );
        IF parent = 'data_collection_audit' THEN
            PERFORM infrastructor_guard_audit(child);
        END IF;
        RETURN true;
    END $$
    """,
    # No foreign keys: a record outlives its device, its token and its parent's partition.
    """
    CREATE TABLE data_collection_audit (
        operation_id UUID NOT NULL,
        started_at TIMESTAMPTZ NOT NULL,
        writer_id UUID NOT NULL,
        parent_id UUID,
        operation TEXT NOT NULL,
        effect TEXT NOT NULL,
        principal TEXT NOT NULL,
        role TEXT NOT NULL,
        interface TEXT NOT NULL,
        client TEXT,
        device_id UUID,
        device TEXT,
        params JSONB NOT NULL DEFAULT '{}',
        commands TEXT[] NOT NULL DEFAULT '{}',
        plan_id UUID,
        cache TEXT NOT NULL,
        outcome TEXT NOT NULL
            CHECK (outcome IN ('started', 'ok', 'refused', 'error', 'cancelled', 'unknown')),
        error_code TEXT,
        error_message TEXT,
        retries INTEGER NOT NULL DEFAULT 0,
        duration_ms DOUBLE PRECISION,
        details JSONB,
        written_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        PRIMARY KEY (operation_id, started_at)
    ) PARTITION BY RANGE (started_at)
    """,
    "CREATE INDEX idx_data_collection_audit_device_time ON data_collection_audit (device_id, started_at DESC)",
    "CREATE INDEX idx_data_collection_audit_operation_time ON data_collection_audit (operation, started_at DESC)",
    """
    CREATE INDEX idx_data_collection_audit_started ON data_collection_audit (writer_id)
    WHERE outcome = 'started'
    """,
    """
    CREATE FUNCTION infrastructor_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP <> 'UPDATE' THEN
            RAISE EXCEPTION 'data_collection_audit is append-only: % refused', TG_OP
                USING ERRCODE = 'insufficient_privilege',
                      HINT = 'Retention drops whole partitions.';
        END IF;
        IF OLD.outcome <> 'started' OR NEW.outcome = 'started' THEN
            RAISE EXCEPTION 'data_collection_audit is append-only: record % is closed as %',
                OLD.operation_id, OLD.outcome USING ERRCODE = 'insufficient_privilege';
        END IF;
        IF (OLD.operation_id, OLD.started_at, OLD.writer_id, OLD.parent_id, OLD.operation, OLD.effect,
            OLD.principal, OLD.role, OLD.interface, OLD.client)
            IS DISTINCT FROM
           (NEW.operation_id, NEW.started_at, NEW.writer_id, NEW.parent_id, NEW.operation, NEW.effect,
            NEW.principal, NEW.role, NEW.interface, NEW.client)
        THEN
            RAISE EXCEPTION 'data_collection_audit is append-only: who did what of record % stands',
                OLD.operation_id USING ERRCODE = 'insufficient_privilege';
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER audit_rows_stand BEFORE UPDATE OR DELETE ON data_collection_audit
    FOR EACH ROW EXECUTE FUNCTION infrastructor_audit_is_append_only()
    """,
    # Row triggers are inherited by partitions, statement triggers are not: each partition gets its own.
    """
    CREATE FUNCTION infrastructor_guard_audit(target TEXT) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE format(
            'CREATE TRIGGER audit_stands BEFORE TRUNCATE ON %I FOR EACH STATEMENT '
            'EXECUTE FUNCTION infrastructor_audit_is_append_only()', target
        );
    END $$
    """,
    "CREATE TABLE data_collection_audit_default PARTITION OF data_collection_audit DEFAULT",
    "SELECT infrastructor_guard_audit('data_collection_audit')",
    "SELECT infrastructor_guard_audit('data_collection_audit_default')",
    """
    SELECT infrastructor_create_partition('data_collection_audit', month::date, (month + interval '1 month')::date)
    FROM generate_series(
        date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 month',
        date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 months', interval '1 month'
    ) AS month
    """,
    # Who writes: a row left 'started' by a writer that is gone becomes 'unknown'.
    """
    CREATE TABLE audit_writers (
        id UUID PRIMARY KEY,
        spool_id UUID NOT NULL,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
        seen_at TIMESTAMPTZ NOT NULL DEFAULT now()
    )
    """,
)

DOWNGRADE = (
    "DROP TABLE audit_writers",
    "DROP TABLE data_collection_audit",
    "DROP FUNCTION infrastructor_create_partition(TEXT, DATE, DATE)",
    "DROP FUNCTION infrastructor_guard_audit(TEXT)",
    "DROP FUNCTION infrastructor_audit_is_append_only()",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
