"""States of containers when they change, samples in bulk, and both for as long as their retention says."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from infrastructor.container_store import ContainerSample, ContainerState
from infrastructor.ids import uuid7
from infrastructor.settings import Settings
from infrastructor.storage.containers import PostgresContainerStore
from infrastructor.storage.pool import Database
from infrastructor.storage.retention import apply_retention
from tests.fakes import FakeContainers
from tests.support.postgres import TestPostgres, execute, rows

NOW = datetime.now(UTC).replace(microsecond=0)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def state(name: str = "web", **fields: Any) -> ContainerState:
    values = {"container_id": name * 8, "state": "running", "image": "nginx", "ports": ("80->80/tcp",), **fields}
    return ContainerState(name=name, **values)


def sample(name: str = "web", **fields: Any) -> ContainerSample:
    values = {"cpu_percent": 1.5, "memory_bytes": 2**30, "rx_bytes": 0, "tx_bytes": 0, "pids": 3, **fields}
    return ContainerSample(name=name, **values)


@pytest.fixture
async def device(dsn: str) -> UUID:
    device_id = uuid7()
    await execute(dsn, "INSERT INTO devices (id, hostname) VALUES ($1, 'nas')", device_id)
    return device_id


@pytest.fixture(params=["fake", "real"])
async def store(request: pytest.FixtureRequest, storage: Database) -> AsyncIterator[Any]:
    if request.param == "fake":
        yield FakeContainers()
        return
    real = PostgresContainerStore(storage)
    await real.start()
    yield real
    await real.close()


# --- what the real one and the fake have in common -----------------------------------------------------


async def test_only_what_changed_is_kept(store: Any, device: UUID) -> None:
    web, db = state(), state("db", health="healthy", restart_count=2)
    assert set(await store.add_states(device, NOW, [web, db])) == {"web", "db"}
    assert await store.add_states(device, NOW + MINUTE, [web, db]) == []
    ill = replace(db, health="unhealthy")
    assert await store.add_states(device, NOW + 2 * MINUTE, [web, ill]) == ["db"]
    assert await store.states(device) == [ill, web]
    found = await store.changes(device, "db", NOW, NOW + DAY, 10)
    assert [(change.at, change.state) for change in found] == [(NOW, db), (NOW + 2 * MINUTE, ill)]


async def test_a_container_that_is_gone_is_removed_and_may_come_back(store: Any, device: UUID) -> None:
    await store.add_states(device, NOW, [state(), state("db")])
    assert await store.add_states(device, NOW + MINUTE, [state()]) == ["db"]
    assert [one.name for one in await store.states(device)] == ["web"]
    assert await store.add_states(device, NOW + 2 * MINUTE, [state()]) == []
    assert await store.add_states(device, NOW + 3 * MINUTE, [state(), state("db")]) == ["db"]
    found = await store.changes(device, "db", NOW, NOW + DAY, 10)
    assert [change.state.state for change in found] == ["running", "removed", "running"]


async def test_changes_begin_with_the_state_before(store: Any, device: UUID) -> None:
    for n, health in enumerate(("starting", "healthy", "unhealthy", "healthy")):
        await store.add_states(device, NOW + n * MINUTE, [state(health=health)])
    found = await store.changes(device, "web", NOW + 2 * MINUTE, NOW + DAY, 10)
    assert [change.state.health for change in found] == ["healthy", "unhealthy", "healthy"]
    newest = await store.changes(device, "web", NOW, NOW + DAY, 1)
    assert [change.state.health for change in newest] == ["unhealthy", "healthy"]
    assert await store.changes(device, "other", NOW, NOW + DAY, 1) == []
    later = await store.changes(device, "web", NOW + DAY, NOW + 2 * DAY, 5)
    assert [change.state.health for change in later] == ["healthy"]


async def test_samples_come_back_in_buckets(store: Any, device: UUID) -> None:
    start = NOW - timedelta(hours=1)
    for n in range(60):
        store.add_samples(
            device,
            start + n * MINUTE,
            [sample(cpu_percent=float(n), memory_bytes=n * 10, rx_bytes=n * 100), sample("db")],
        )
    await store.flush()
    buckets = await store.series(device, "web", start, NOW, timedelta(minutes=15))
    assert [(one.start, one.samples) for one in buckets] == [(start + n * 15 * MINUTE, 15) for n in range(4)]
    second = buckets[1]
    assert (second.cpu_percent_min, second.cpu_percent_avg, second.cpu_percent_max) == (15.0, 22.0, 29.0)
    assert (second.memory_bytes_min, second.memory_bytes_avg, second.memory_bytes_max) == (150, 220, 290)
    assert (second.rx_bytes, second.read_bytes, second.pids_max) == (1500, None, 3)
    assert buckets[0].rx_bytes == 1400, "the first sample has nothing to compare with"
    assert await store.series(device, "web", NOW, NOW + DAY, MINUTE) == []
    assert await store.series(uuid7(), "web", start, NOW, MINUTE) == []


async def test_a_counter_that_starts_again_is_no_loss(store: Any, device: UUID) -> None:
    start = NOW - timedelta(hours=1)
    for n, counter in enumerate((1000, 1500, 200, 300)):
        store.add_samples(device, start + n * MINUTE, [sample(rx_bytes=counter)])
    await store.flush()
    (bucket,) = await store.series(device, "web", start, NOW, timedelta(hours=1))
    assert bucket.rx_bytes == 500 + 200 + 100


# --- the real one --------------------------------------------------------------------------------------


async def test_the_founding_columns_stand(dsn: str, storage: Database, device: UUID) -> None:
    await PostgresContainerStore(storage).add_states(device, NOW, [state(stack="shop")])
    (row,) = await rows(
        dsn,
        "SELECT id, device_id, snapshot_time, container_data, created_at FROM container_snapshots"
        ' WHERE container_data @> \'{"stack": "shop"}\'',
    )
    assert (row["device_id"], row["snapshot_time"]) == (device, NOW)
    indexes = {row["indexname"] for row in await rows(dsn, "SELECT indexname FROM pg_indexes")}
    assert {"idx_container_snapshots_device_time", "idx_container_snapshots_data_gin"} <= indexes


async def test_odd_values_are_kept_as_far_as_they_can_be(storage: Database, device: UUID) -> None:
    store = PostgresContainerStore(storage)
    store.add_samples(device, NOW, [sample(cpu_percent=float("nan"), memory_bytes=2**70, pids=2**40)])
    await store.flush()
    (bucket,) = await store.series(device, "web", NOW, NOW + MINUTE, MINUTE)
    assert (bucket.cpu_percent_avg, bucket.memory_bytes_max, bucket.pids_max) == (None, 2**62, 2**31 - 1)
    await store.add_states(device, NOW, [state(image="a\0b", exit_code=2**40)])
    assert (await store.states(device))[0].image == "a\N{REPLACEMENT CHARACTER}b"


async def test_samples_of_a_removed_device_hold_up_no_other(storage: Database, device: UUID) -> None:
    store = PostgresContainerStore(storage)
    store.add_samples(uuid7(), NOW, [sample()])
    store.add_samples(device, NOW, [sample()])
    await store.flush()
    assert store.statistics() == {"queued": 0, "written": 1, "dropped": 1}
    await store.add_states(uuid7(), NOW, [state()])


async def test_samples_wait_while_postgres_is_away(broken_dsn: str, own_postgres: TestPostgres) -> None:
    device = uuid7()
    await execute(broken_dsn, "INSERT INTO devices (id, hostname) VALUES ($1, 'nas')", device)
    database = await Database.connect(broken_dsn, command_timeout=1, acquire_timeout=1)
    store = PostgresContainerStore(database)
    await asyncio.to_thread(own_postgres.crash)
    for n in range(10):
        store.add_samples(device, NOW + n * MINUTE, [sample(), sample("db")])
    await store.flush()
    assert store.statistics()["queued"] == 20
    await asyncio.to_thread(own_postgres.start)
    await store.close()
    assert store.statistics() == {"queued": 0, "written": 20, "dropped": 0}
    await database.close()


async def test_past_their_time_samples_are_hours_and_states_are_gone(
    storage: Database, dsn: str, device: UUID, tmp_path: Path
) -> None:
    settings, store = Settings(data_dir=tmp_path), PostgresContainerStore(storage)
    start = (NOW - timedelta(hours=6)).replace(minute=0, second=0)
    for n in range(4 * 60):
        store.add_samples(device, start + n * MINUTE, [sample(cpu_percent=float(n % 60), rx_bytes=n * 1000)])
    await store.flush()
    await store.add_states(device, start, [state()])
    for _ in range(2):  # twice is once
        await apply_retention(storage, settings, NOW)
    hours = await rows(dsn, "SELECT * FROM container_samples_hourly ORDER BY hour")
    assert [(row["hour"], row["samples"]) for row in hours] == [(start + n * 60 * MINUTE, 60) for n in range(4)]
    assert [row["rx_bytes"] for row in hours] == [59_000, 60_000, 60_000, 60_000]

    fine = await store.series(device, "web", start, NOW, timedelta(hours=2))
    report = await apply_retention(storage, settings, NOW + 31 * DAY)
    assert any(name.startswith("container_samples_2") for name in report.dropped)
    coarse = await store.series(device, "web", start, NOW, timedelta(hours=2))
    for one, other in zip(fine, coarse, strict=True):
        assert (one.start, one.samples, one.rx_bytes) == (other.start, other.samples, other.rx_bytes)
        assert other.cpu_percent_avg == pytest.approx(one.cpu_percent_avg)
        assert other.cpu_percent_max == one.cpu_percent_max
        assert other.cpu_percent_min is None
    assert len(await store.series(device, "web", start, NOW, MINUTE)) == 4, "no bucket is shorter than what is left"

    await apply_retention(storage, settings, NOW + 40 * DAY)
    assert await rows(dsn, "SELECT 1 FROM container_snapshots") == []
    assert [one.name for one in await store.states(device)] == ["web"], "the last state stays known"
    await apply_retention(storage, settings, NOW + 400 * DAY)
    assert await rows(dsn, "SELECT 1 FROM container_samples_hourly") == []


async def test_removing_a_device_removes_its_history(storage: Database, dsn: str, device: UUID) -> None:
    store = PostgresContainerStore(storage)
    await store.add_states(device, NOW, [state()])
    await execute(dsn, "DELETE FROM devices")
    assert await rows(dsn, "SELECT 1 FROM container_snapshots UNION ALL SELECT 1 FROM containers") == []
