"""The history of drives in PostgreSQL."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infrastructor.ids import uuid7
from infrastructor.ports.devices import Device
from infrastructor.ports.series import DriveBaseline, DriveSample
from infrastructor.settings import Settings
from infrastructor.storage.devices import PostgresDeviceRegistry
from infrastructor.storage.drives import PostgresDriveStore
from infrastructor.storage.pool import Database
from infrastructor.storage.retention import apply_retention
from tests.fakes import device

NOW = datetime.now(UTC).replace(microsecond=0)


async def registered(storage: Database) -> Device:
    registry = PostgresDeviceRegistry(storage)
    await registry.start()
    host = device(f"nas-{uuid7().hex[-8:]}")
    await registry.add(host)
    await registry.close()
    return host


def sample(host: Device, drive: str, days: int, **counters: int) -> DriveSample:
    return DriveSample(device_id=host.id, drive=drive, sampled_at=NOW - timedelta(days=days), counters=counters)


async def test_history_is_oldest_first_with_the_last_sample_before(storage: Database) -> None:
    host, store = await registered(storage), PostgresDriveStore(storage)
    rows = [sample(host, "a", days, pending=400 - days) for days in (300, 200, 5, 1)] + [
        sample(host, "b", 2, crc_errors=1)
    ]
    await store.add(rows)
    await store.add([rows[0]])  # another collector saw the same
    await store.add([])
    found = await store.history(host.id, NOW - timedelta(days=30))
    assert found == [rows[1], rows[2], rows[4], rows[3]]


async def test_retention_keeps_of_each_drive_what_its_counters_were(storage: Database, tmp_path: Path) -> None:
    host, store = await registered(storage), PostgresDriveStore(storage)
    rows = [sample(host, "a", days, pending=1000 - days) for days in (900, 500, 400, 10)]
    await store.add(rows)
    await apply_retention(storage, Settings(data_dir=tmp_path))
    assert await store.history(host.id, NOW - timedelta(days=2000)) == rows[2:]


async def test_a_baseline_takes_the_place_of_the_last_one(storage: Database) -> None:
    host, other, store = await registered(storage), await registered(storage), PostgresDriveStore(storage)
    first = DriveBaseline(device_id=host.id, drive="m:A", counters={"pending": 3}, accepted_at=NOW, accepted_by="anna")
    second = dataclasses.replace(first, counters={"pending": 5}, accepted_by="bert")
    elsewhere = dataclasses.replace(first, device_id=other.id)
    for baseline in (first, elsewhere, second, dataclasses.replace(first, drive="m:B")):
        await store.accept(baseline)
    found = sorted(await store.baselines(host.id), key=lambda row: row.drive)
    assert found == [second, dataclasses.replace(first, drive="m:B")]
    assert await store.baselines(other.id) == [elsewhere]
