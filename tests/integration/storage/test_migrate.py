"""The schema goes up and down, from nothing and from data, once however many try."""

import asyncio
import sys
from datetime import UTC, datetime

import pytest

import migrations
from infrastructor.errors import DatabaseOperationError
from infrastructor.storage import migrate
from tests.support.postgres import execute, rows

DEVICE = "0198c0de-0000-7000-8000-000000000001"

FOUNDING_INDEXES = {
    "idx_devices_hostname",
    "idx_devices_monitoring",
    "idx_devices_tags_gin",
    "idx_system_metrics_device_time",
    "idx_system_metrics_timestamp",
}


async def tables(dsn: str) -> set[str]:
    found = await rows(dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in found} - {"alembic_version"}


def test_the_constant_head_is_the_newest_revision() -> None:
    assert [revision for revision, _ in migrate.history()][-1] == migrations.HEAD


async def test_up_from_empty_and_all_the_way_down(empty_dsn: str) -> None:
    assert await migrate.current(empty_dsn) is None
    assert await migrate.upgrade(empty_dsn) is True
    assert await migrate.current(empty_dsn) == migrations.HEAD
    assert await migrate.upgrade(empty_dsn) is False
    indexes = {row["indexname"] for row in await rows(empty_dsn, "SELECT indexname FROM pg_indexes")}
    assert indexes >= FOUNDING_INDEXES
    await migrate.downgrade(empty_dsn, "base")
    assert await tables(empty_dsn) == set()
    functions = await rows(empty_dsn, "SELECT 1 FROM pg_proc WHERE proname LIKE 'infrastructor%'")
    assert functions == []
    assert await migrate.upgrade(empty_dsn) is True


async def test_each_step_goes_up_and_down_alone(empty_dsn: str) -> None:
    seen = []
    for revision, _ in migrate.history():
        await migrate.upgrade(empty_dsn, revision)
        seen.append(await tables(empty_dsn))
    for before in reversed([set(), *seen[:-1]]):
        await migrate.downgrade(empty_dsn, "-1")
        assert await tables(empty_dsn) == before


async def test_data_survives_what_it_can_survive(empty_dsn: str) -> None:
    await migrate.upgrade(empty_dsn, "0002")
    await execute(empty_dsn, "INSERT INTO devices (id, hostname, tags) VALUES ($1, 'nas', '{\"a\": \"b\"}')", DEVICE)
    await execute(
        empty_dsn,
        """INSERT INTO data_collection_audit
           (operation_id, started_at, writer_id, operation, effect, principal, role, interface, cache, outcome)
           VALUES ($1, now(), $1, 'system_info', 'read', 'p', 'admin', 'cli', 'miss', 'ok')""",
        DEVICE,
    )
    await migrate.upgrade(empty_dsn)
    await execute(
        empty_dsn,
        "INSERT INTO system_metrics (id, device_id, timestamp) VALUES ($1, $1, $2)",
        DEVICE,
        datetime.now(UTC),
    )
    await migrate.downgrade(empty_dsn, "0001")
    assert [(row["hostname"], row["tags"]) for row in await rows(empty_dsn, "SELECT * FROM devices")] == [
        ("nas", '{"a": "b"}')
    ]
    await migrate.upgrade(empty_dsn)
    assert len(await rows(empty_dsn, "SELECT * FROM devices")) == 1


async def test_many_servers_migrate_at_once(empty_dsn: str) -> None:
    program = f"import asyncio; from infrastructor.storage import migrate; asyncio.run(migrate.upgrade({empty_dsn!r}))"
    servers = [await asyncio.create_subprocess_exec(sys.executable, "-c", program) for _ in range(3)]
    own = await asyncio.gather(*(migrate.upgrade(empty_dsn) for _ in range(3)))
    assert [await server.wait() for server in servers] == [0, 0, 0]
    assert len(own) == 3
    assert await migrate.current(empty_dsn) == migrations.HEAD


async def test_a_newer_database_is_left_alone(dsn: str) -> None:
    await execute(dsn, "UPDATE alembic_version SET version_num = '9999'")
    assert await migrate.upgrade(dsn) is False


async def test_a_failed_revision_leaves_nothing_and_says_why(empty_dsn: str) -> None:
    await migrate.upgrade(empty_dsn, "0001")
    await execute(empty_dsn, "CREATE TABLE audit_writers (id INT)")
    with pytest.raises(DatabaseOperationError, match="already exists"):
        await migrate.upgrade(empty_dsn)
    assert await migrate.current(empty_dsn) == "0001"
    assert await tables(empty_dsn) == {"devices", "audit_writers"}


async def test_no_database_is_a_clear_error() -> None:
    with pytest.raises(DatabaseOperationError, match="PostgreSQL"):
        await migrate.upgrade("postgresql://nobody@127.0.0.1:1/none")
