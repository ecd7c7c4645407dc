"""The schema goes up and down, from nothing and from data, once however many try."""

import asyncio
import sys
from datetime import UTC, datetime

import pytest

import migrations
from infrastructor.errors import DatabaseOperationError
from infrastructor.formats.semantic import ChangeClass
from infrastructor.storage import migrate
from infrastructor.storage.rows import CLASSES, bits_of
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


async def test_what_changes_are_about_survives_its_new_form(empty_dsn: str) -> None:
    about = [None, [], ["image"], ["ports", "other"], list(CLASSES)]
    await migrate.upgrade(empty_dsn, "0012")
    await execute(empty_dsn, "INSERT INTO devices (id, hostname) VALUES ($1, 'nas')", DEVICE)
    await execute(
        empty_dsn,
        """INSERT INTO configuration_files (device_id, path_key, path, config_type, head_id, head_time, gone)
           VALUES ($1, $1, '/a', 'text', $1, now(), false)""",
        DEVICE,
    )
    for place, classes in enumerate(about):
        await execute(
            empty_dsn,
            """INSERT INTO configuration_versions (time, id, file, change, holding, config_type, classes)
               SELECT to_timestamp($1::int), gen_random_uuid(), id, 'm', 'n', 'text', $2 FROM configuration_files""",
            place,
            classes,
        )
    told = "SELECT * FROM configuration_snapshots ORDER BY time"
    before = [dict(row) for row in await rows(empty_dsn, told)]
    await migrate.upgrade(empty_dsn, "0013")
    kept = await rows(empty_dsn, "SELECT classes FROM configuration_versions ORDER BY time")
    assert [row["classes"] for row in kept] == [None if one is None else bits_of(one) for one in about]
    assert [dict(row) for row in await rows(empty_dsn, told)] == before
    await migrate.downgrade(empty_dsn, "0012")
    assert [row["classes"] for row in await rows(empty_dsn, told)] == about


async def test_every_class_has_a_bit_here_and_there(dsn: str) -> None:
    assert list(CLASSES) == [one.value for one in ChangeClass], "a new class goes to the end, in a migration too"
    [there] = await rows(dsn, "SELECT infrastructor_change_names() AS names")
    assert there["names"] == list(CLASSES)
    assert bits_of(["other"]) == 2048, "as in queries/snapshots.sql"


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


async def test_a_migrator_killed_at_any_moment_is_no_obstacle(empty_dsn: str) -> None:
    program = (
        "import asyncio, alembic.command, sqlalchemy.ext.asyncio; from infrastructor.storage import migrate\n"
        f"print('go', flush=True); asyncio.run(migrate.upgrade({empty_dsn!r}))"
    )
    for delay in (0.02, 0.05, 0.08, 0.12, 0.2):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert process.stdout is not None
        await process.stdout.readline()
        await asyncio.sleep(delay)
        if process.returncode is None:
            process.kill()
        await process.wait()
    await migrate.upgrade(empty_dsn)
    assert await migrate.current(empty_dsn) == migrations.HEAD
    await migrate.downgrade(empty_dsn, "base")
    assert await tables(empty_dsn) == set()
