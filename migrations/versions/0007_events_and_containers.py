"""events in one order, and what containers were and used: container_snapshots, container_samples."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

EVENTS = (
    "CREATE SEQUENCE events_sequence",
    """
    CREATE TABLE events (
        sequence BIGINT NOT NULL,
        recorded_at TIMESTAMPTZ NOT NULL,
        at TIMESTAMPTZ NOT NULL,
        id UUID NOT NULL,
        device_id UUID,
        severity SMALLINT NOT NULL,
        topic TEXT NOT NULL,
        kind TEXT NOT NULL,
        device TEXT,
        subject TEXT,
        data JSONB NOT NULL DEFAULT '{}',
        PRIMARY KEY (sequence, recorded_at)
    ) PARTITION BY RANGE (recorded_at)
    """,
    "CREATE INDEX idx_events_id ON events (id)",
    "CREATE INDEX idx_events_device_subject ON events (device_id, subject, sequence)",
    "CREATE TABLE events_default PARTITION OF events DEFAULT",
    # One publisher after the other: the lock is let go after the commit is visible, so whoever has seen sequence n
    # will never be shown a smaller one later. The same order makes "stored already?" exact. The lock lives as long
    # as this one statement, whatever becomes of its client.
    """
    CREATE FUNCTION infrastructor_publish_events(batch JSONB) RETURNS BIGINT LANGUAGE plpgsql AS $$
    DECLARE
        stored BIGINT;
    BEGIN
        PERFORM pg_advisory_xact_lock(x'1f7a5741c706'::bigint);
        INSERT INTO events (sequence, recorded_at, at, id, device_id, severity, topic, kind, device, subject, data)
        SELECT nextval('events_sequence'), clock_timestamp(), new.at, new.id, new.device_id, new.severity, new.topic,
               new.kind, new.device, new.subject, new.data
        FROM (
            SELECT item.* FROM ROWS FROM (jsonb_to_recordset(batch) AS (
                id UUID, at TIMESTAMPTZ, device_id UUID, severity SMALLINT, topic TEXT, kind TEXT, device TEXT,
                subject TEXT, data JSONB
            )) WITH ORDINALITY AS item (id, at, device_id, severity, topic, kind, device, subject, data, place)
            WHERE NOT EXISTS (SELECT 1 FROM events AS known WHERE known.id = item.id)
            ORDER BY item.place
        ) AS new;
        GET DIAGNOSTICS stored = ROW_COUNT;
        IF stored > 0 THEN
            PERFORM pg_notify('infrastructor_events', '');
        END IF;
        RETURN stored;
    END $$
    """,
)

# Names stand for containers: a recreated one goes on under its name. `state` is the last one that was kept.
CONTAINERS = (
    """
    CREATE TABLE containers (
        id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        device_id UUID NOT NULL REFERENCES devices (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        state JSONB,
        seen_at TIMESTAMPTZ NOT NULL,
        gone_at TIMESTAMPTZ,
        UNIQUE (device_id, name)
    )
    """,
    # The founding columns are id, device_id, snapshot_time, container_data and created_at.
    """
    CREATE TABLE container_snapshots (
        id UUID NOT NULL,
        device_id UUID REFERENCES devices (id) ON DELETE CASCADE,
        snapshot_time TIMESTAMPTZ NOT NULL,
        container_data JSONB NOT NULL,
        created_at TIMESTAMPTZ DEFAULT now(),
        container INTEGER NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        state TEXT NOT NULL,
        health TEXT,
        restart_count INTEGER,
        exit_code INTEGER,
        oom_killed BOOLEAN,
        PRIMARY KEY (id, snapshot_time)
    ) PARTITION BY RANGE (snapshot_time)
    """,
    "CREATE INDEX idx_container_snapshots_device_time ON container_snapshots (device_id, snapshot_time DESC)",
    "CREATE INDEX idx_container_snapshots_container_time ON container_snapshots (container, snapshot_time DESC)",
    "CREATE INDEX idx_container_snapshots_data_gin ON container_snapshots USING GIN (container_data)",
    "CREATE TABLE container_snapshots_default PARTITION OF container_snapshots DEFAULT",
    # 40 bytes that need no alignment: REAL keeps seven digits, which a figure of use does not have. Bytes are those
    # since the sample before. No key but (container, ts), and no foreign key: at a million rows a day each costs more
    # than it gives.
    """
    CREATE TABLE container_samples (
        ts TIMESTAMPTZ NOT NULL,
        container INTEGER NOT NULL,
        cpu_percent REAL,
        memory_bytes REAL,
        rx_bytes REAL,
        tx_bytes REAL,
        read_bytes REAL,
        written_bytes REAL,
        pids INTEGER
    ) PARTITION BY RANGE (ts)
    """,
    "CREATE INDEX idx_container_samples_container_ts ON container_samples (container, ts)",
    "CREATE TABLE container_samples_default PARTITION OF container_samples DEFAULT",
    # What is left of samples past their time: one row an hour.
    """
    CREATE TABLE container_samples_hourly (
        hour TIMESTAMPTZ NOT NULL,
        container INTEGER NOT NULL,
        cpu_percent_avg REAL,
        cpu_percent_max REAL,
        memory_bytes_avg REAL,
        memory_bytes_max REAL,
        rx_bytes REAL,
        tx_bytes REAL,
        read_bytes REAL,
        written_bytes REAL,
        samples SMALLINT NOT NULL,
        PRIMARY KEY (container, hour)
    ) PARTITION BY RANGE (hour)
    """,
    "CREATE TABLE container_samples_hourly_default PARTITION OF container_samples_hourly DEFAULT",
)

PARTITIONS = (
    """
    SELECT infrastructor_create_partition(name, week::date, (week + interval '7 days')::date)
    FROM unnest(ARRAY['events', 'container_snapshots']) AS name, generate_series(
        date_trunc('week', now() AT TIME ZONE 'UTC') - interval '7 days',
        date_trunc('week', now() AT TIME ZONE 'UTC') + interval '28 days', interval '7 days'
    ) AS week
    """,
    """
    SELECT infrastructor_create_partition('container_samples', day::date, (day + interval '1 day')::date)
    FROM generate_series(
        date_trunc('day', now() AT TIME ZONE 'UTC') - interval '1 day',
        date_trunc('day', now() AT TIME ZONE 'UTC') + interval '7 days', interval '1 day'
    ) AS day
    """,
    """
    SELECT infrastructor_create_partition('container_samples_hourly', month::date, (month + interval '1 month')::date)
    FROM generate_series(
        date_trunc('month', now() AT TIME ZONE 'UTC') - interval '1 month',
        date_trunc('month', now() AT TIME ZONE 'UTC') + interval '2 months', interval '1 month'
    ) AS month
    """,
)

DOWNGRADE = (
    "DROP TABLE container_samples_hourly",
    "DROP TABLE container_samples",
    "DROP TABLE container_snapshots",
    "DROP TABLE containers",
    "DROP FUNCTION infrastructor_publish_events(JSONB)",
    "DROP TABLE events",
    "DROP SEQUENCE events_sequence",
)


def upgrade() -> None:
    for statement in (*EVENTS, *CONTAINERS, *PARTITIONS):
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
