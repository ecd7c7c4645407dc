"""Samples go in by bulk and out by whole partitions."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from infrastructor.ids import uuid7
from infrastructor.ports.series import MetricSample
from infrastructor.settings import Settings
from infrastructor.storage.metrics import PostgresMetricStore
from infrastructor.storage.pool import Database
from infrastructor.storage.retention import RETENTION_POLICIES, apply_retention
from tests.support.audit import audit_log, record
from tests.support.postgres import TestPostgres, eventually, execute, rows

NOW = datetime.now(UTC)


def sample(device_id: UUID, timestamp: datetime = NOW, **fields: object) -> MetricSample:
    values = {
        "cpu_usage_percent": 12.34,
        "memory_usage_percent": 56.78,
        "disk_usage_percent": None,
        "load_average_1m": 0.5,
        "uptime_seconds": 2**40,
        "metadata": {"mounts": ["/"]},
    }
    return MetricSample(device_id=device_id, timestamp=timestamp, **{**values, **fields})  # type: ignore[arg-type]


@pytest.fixture
async def device(dsn: str) -> UUID:
    device_id = uuid7()
    await execute(dsn, "INSERT INTO devices (id, hostname) VALUES ($1, 'nas')", device_id)
    return device_id


@pytest.fixture
async def metrics(storage: Database) -> AsyncIterator[PostgresMetricStore]:
    store = PostgresMetricStore(storage, flush_interval_s=0.02)
    await store.start()
    yield store
    await store.close()


async def test_samples_come_back_oldest_first(metrics: PostgresMetricStore, device: UUID) -> None:
    stored = [sample(device, NOW - timedelta(minutes=minutes)) for minutes in (1, 3, 2)]
    for one in stored:
        await metrics.add(one)

    async def written() -> bool:
        return metrics.statistics()["written"] == 3

    await eventually(written)
    assert await metrics.history(device, NOW - timedelta(hours=1)) == [stored[1], stored[2], stored[0]]
    assert await metrics.history(device, NOW - timedelta(hours=1), limit=1) == [stored[0]]
    assert await metrics.history(device, NOW) == []
    assert await metrics.history(uuid7(), NOW - timedelta(hours=1)) == []


async def test_values_no_column_holds_are_clamped_or_unknown(metrics: PostgresMetricStore, device: UUID) -> None:
    odd = sample(device, cpu_usage_percent=1e9, load_average_1m=float("inf"), disk_usage_percent=float("nan"))
    await metrics.add(odd)
    await metrics.flush()
    (found,) = await metrics.history(device, NOW - timedelta(hours=1))
    assert (found.cpu_usage_percent, found.load_average_1m, found.disk_usage_percent) == (999.99, None, None)


async def test_a_device_removed_meanwhile_takes_only_its_own_samples_along(
    metrics: PostgresMetricStore, device: UUID
) -> None:
    await asyncio.gather(*(metrics.add(sample(owner)) for owner in (uuid7(), device, uuid7())))
    await metrics.flush()
    assert len(await metrics.history(device, NOW - timedelta(hours=1))) == 1


async def test_samples_wait_while_postgres_is_away(broken_dsn: str, own_postgres: TestPostgres) -> None:
    device = uuid7()
    await execute(broken_dsn, "INSERT INTO devices (id, hostname) VALUES ($1, 'nas')", device)
    database = await Database.connect(broken_dsn, command_timeout=1, acquire_timeout=1)
    store = PostgresMetricStore(database)
    await asyncio.to_thread(own_postgres.crash)
    for _ in range(10):
        await store.add(sample(device))
    await store.flush()
    assert store.statistics() == {"queued": 10, "written": 0, "dropped": 0}
    await asyncio.to_thread(own_postgres.start)
    await store.close()
    assert len(await store.history(device, NOW - timedelta(hours=1))) == 10
    await database.close()


async def partitions(dsn: str, table: str) -> list[str]:
    found = await rows(
        dsn,
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::text::regclass ORDER BY 1",
        table,
    )
    return [row["name"] for row in found]


async def test_retention_drops_what_is_past_its_time_and_makes_room_ahead(
    storage: Database, dsn: str, device: UUID, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path)
    store = PostgresMetricStore(storage)
    async with audit_log(dsn, tmp_path) as log:
        await store.add(sample(device))
        await store.flush()
        await log.finish(record(outcome="ok"))
        later = NOW + timedelta(days=89)
        report = await apply_retention(storage, settings, later)
        assert report.created
        assert len(await store.history(device, NOW - timedelta(hours=1))) == 1, "not yet 90 days old"
        await store.add(sample(device, later))
        await store.flush()

        after = await apply_retention(storage, settings, NOW + timedelta(days=98))
        assert [name[:14] for name in after.dropped] == ["system_metrics"] * len(after.dropped)
        assert [one.timestamp for one in await store.history(device, NOW - timedelta(hours=1))] == [later]
        assert len(await rows(dsn, "SELECT 1 FROM data_collection_audit")) == 1

        year = await apply_retention(storage, settings, NOW + timedelta(days=400))
        assert any(name.startswith("data_collection_audit_2") for name in year.dropped)
        assert await rows(dsn, "SELECT 1 FROM data_collection_audit") == []
    again = await apply_retention(storage, settings, NOW + timedelta(days=400))
    assert (again.created, again.dropped) == ([], [])


async def test_new_partitions_of_the_audit_are_append_only_too(storage: Database, dsn: str, tmp_path: Path) -> None:
    later = NOW + timedelta(days=200)
    await apply_retention(storage, Settings(data_dir=tmp_path), later)
    with pytest.raises(Exception, match="append-only"):
        await execute(dsn, f"TRUNCATE data_collection_audit_{later:%Y%m}01")


async def test_two_servers_apply_retention_at_once(storage: Database, dsn: str, tmp_path: Path) -> None:
    other = await Database.connect(dsn)
    settings, later = Settings(data_dir=tmp_path), NOW + timedelta(days=500)
    await asyncio.gather(*(apply_retention(database, settings, later) for database in (storage, other) * 2))
    await other.close()
    assert f"data_collection_audit_{later:%Y%m}01" in await partitions(dsn, "data_collection_audit")


async def test_strays_in_the_default_partitions_go_as_well(
    storage: Database, dsn: str, device: UUID, tmp_path: Path
) -> None:
    old = NOW - timedelta(days=900)
    async with audit_log(dsn, tmp_path) as log:
        await log.finish(record(outcome="ok", started_at=old))
    await storage.execute("INSERT INTO system_metrics (id, device_id, timestamp) VALUES ($1, $1, $2)", device, old)
    await apply_retention(storage, Settings(data_dir=tmp_path), NOW)
    assert await rows(dsn, "SELECT 1 FROM data_collection_audit UNION ALL SELECT 1 FROM system_metrics") == []
    with pytest.raises(Exception, match="append-only"):
        await execute(dsn, "TRUNCATE data_collection_audit_default")


async def test_removing_a_device_removes_its_samples(metrics: PostgresMetricStore, device: UUID, dsn: str) -> None:
    await metrics.add(sample(device))
    await metrics.flush()
    await execute(dsn, "DELETE FROM devices")
    assert await metrics.history(device, NOW - timedelta(hours=1)) == []


def test_the_founding_policies_stand() -> None:
    assert {
        "system_metrics": timedelta(days=90),
        "container_snapshots": timedelta(days=30),
        "data_collection_audit": timedelta(days=365),
        "configuration_snapshots": None,
    } == RETENTION_POLICIES
