"""The device registry: memory in front, PostgreSQL behind, other processes beside."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from infrastructor.errors import Conflict, DatabaseOperationError, DeviceNotFound, ValidationFailed
from infrastructor.ids import uuid7
from infrastructor.ports.devices import Device, HostKey, Transport
from infrastructor.storage.devices import PostgresDeviceRegistry
from infrastructor.storage.pool import Database
from tests.support.postgres import TestPostgres, eventually, execute

NOW = datetime(2026, 11, 20, 12, 0, 0, 123456, tzinfo=UTC)


def device(hostname: str = "nas", **fields: object) -> Device:
    return Device.model_validate({"id": uuid7(), "hostname": hostname, "created_at": NOW, "updated_at": NOW, **fields})


@pytest.fixture
async def registry(storage: Database) -> AsyncIterator[PostgresDeviceRegistry]:
    registry = PostgresDeviceRegistry(storage)
    await registry.start()
    yield registry
    await registry.close()


async def test_a_device_comes_back_as_it_was_stored(registry: PostgresDeviceRegistry, storage: Database) -> None:
    stored = device(
        device_type="nas",
        description="in the cellar",
        location="home",
        transport=Transport.LOCAL,
        address="10.0.0.2",
        ssh_port=2222,
        ssh_username="root",
        ssh_private_key_path="/keys/id",
        jump="bastion",
        host_keys=(HostKey(algorithm="ssh-ed25519", public_key="AAAA", fingerprint="SHA256:x"),),
        monitoring_enabled=False,
        tags={"role": "db", "ünï": "cödé"},
    )
    await registry.add(stored)
    assert await registry.find("nas") == stored
    await registry.reload()
    assert await registry.find("nas") == stored


async def test_devices_are_listed_by_hostname(registry: PostgresDeviceRegistry) -> None:
    for name in ("web", "alpha", "nas"):
        await registry.add(device(name))
    assert [found.hostname for found in await registry.all()] == ["alpha", "nas", "web"]


async def test_a_taken_hostname_is_a_conflict(registry: PostgresDeviceRegistry) -> None:
    await registry.add(device())
    with pytest.raises(Conflict):
        await registry.add(device())
    other = device("other")
    await registry.add(other)
    with pytest.raises(Conflict):
        await registry.update(other.model_copy(update={"hostname": "nas"}))


@pytest.mark.parametrize(
    "odd",
    [
        {"description": "a\0b"},
        {"description": "\ud800"},
        {"hostname": "x" * 300},
        {"ssh_port": 2**40},
        {"ssh_private_key_path": "/" + "x" * 600},
    ],
    ids=lambda odd: next(iter(odd)),
)
async def test_a_value_no_column_takes_is_the_callers_fault(
    registry: PostgresDeviceRegistry, odd: dict[str, object]
) -> None:
    with pytest.raises(ValidationFailed):
        await registry.add(device(**odd))  # type: ignore[arg-type]
    assert await registry.all() == ()


async def test_tags_take_any_text(registry: PostgresDeviceRegistry) -> None:
    await registry.add(device(tags={"a": "b\0"}))
    await registry.reload()
    assert (await registry.all())[0].tags == {"a": "b\N{REPLACEMENT CHARACTER}"}


async def test_update_replaces_and_may_rename(registry: PostgresDeviceRegistry) -> None:
    first = device()
    await registry.add(first)
    later = first.model_copy(update={"hostname": "nas2", "tags": {"a": "b"}, "updated_at": NOW + timedelta(1)})
    await registry.update(later)
    assert await registry.find("nas") is None
    assert await registry.find("nas2") == later
    with pytest.raises(DeviceNotFound):
        await registry.update(device("ghost"))


async def test_remove_says_whether_it_was_there(registry: PostgresDeviceRegistry) -> None:
    stored = device()
    await registry.add(stored)
    assert await registry.remove(stored.id) is True
    assert await registry.remove(stored.id) is False
    assert await registry.all() == ()


async def test_a_change_by_another_process_is_seen(registry: PostgresDeviceRegistry, dsn: str) -> None:
    other_database = await Database.connect(dsn)
    other = PostgresDeviceRegistry(other_database)
    await other.start()
    try:
        await other.add(device("new"))
        assert await registry.find("new") is not None, "a miss asks PostgreSQL once"

        async def listed() -> bool:
            return len(await registry.all()) == 1

        await eventually(listed)
        await execute(dsn, "DELETE FROM devices")

        async def gone() -> bool:
            return not await registry.all() and not await other.all()

        await eventually(gone)
    finally:
        await other.close()
        await other_database.close()


async def test_it_serves_from_memory_while_postgres_is_frozen(broken_dsn: str, own_postgres: TestPostgres) -> None:
    database = await Database.connect(broken_dsn, command_timeout=0.3, acquire_timeout=0.3)
    registry = PostgresDeviceRegistry(database)
    await registry.start()
    try:
        await registry.add(device())
        with own_postgres.frozen():
            started = asyncio.get_running_loop().time()
            assert await registry.find("nas") is not None
            assert await registry.find("unknown") is None
            with pytest.raises(DatabaseOperationError):
                await registry.add(device("b"))
            assert asyncio.get_running_loop().time() - started < 4
        await eventually(lambda: _adds(registry, "c"))
    finally:
        await registry.close()
        await database.close()


async def test_changes_made_while_postgres_was_away_are_seen_when_it_is_back(
    broken_dsn: str, own_postgres: TestPostgres
) -> None:
    database = await Database.connect(broken_dsn)
    registry = PostgresDeviceRegistry(database)
    await registry.start()
    try:
        await registry.add(device())
        await asyncio.to_thread(own_postgres.crash)
        assert await registry.find("nas") is not None
        assert await registry.find("other") is None
        await asyncio.to_thread(own_postgres.start)
        await execute(broken_dsn, "UPDATE devices SET hostname = 'renamed'")

        async def renamed() -> bool:
            return [found.hostname for found in await registry.all()] == ["renamed"]

        await eventually(renamed)
    finally:
        await registry.close()
        await database.close()


async def _adds(registry: PostgresDeviceRegistry, name: str) -> bool:
    try:
        await registry.add(device(name))
    except DatabaseOperationError:
        return False
    return True
