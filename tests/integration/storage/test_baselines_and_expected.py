"""Baselines, writes of ours that a watcher sees, and the audit around a time, on PostgreSQL."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infrastructor.ids import uuid7
from infrastructor.ports.callers import Effect
from infrastructor.snapshot_store import Baseline
from infrastructor.storage.baselines import PostgresBaselineStore
from infrastructor.storage.keys import Keyring
from infrastructor.storage.pool import Database
from infrastructor.storage.snapshots import PostgresSnapshotStore
from tests.fake_history import FakeBaselines
from tests.fake_snapshots import FakeSnapshots
from tests.support.audit import audit_log, done, record
from tests.support.history import saw
from tests.support.postgres import execute

NOW = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(params=["fake", "real"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def new_device(dsn: str, name: str = "nas") -> Any:
    device_id = uuid7()
    await execute(dsn, "INSERT INTO devices (id, hostname) VALUES ($1, $2)", device_id, name)
    return device_id


async def test_a_path_has_one_baseline_which_goes_with_its_device(kind: str, dsn: str, storage: Database) -> None:
    store = FakeBaselines() if kind == "fake" else PostgresBaselineStore(storage)
    device, other = await new_device(dsn), await new_device(dsn, "web")
    long_path = "/" + "x" * 3900

    def baseline(path: str, seconds: int = 0, owner: Any = device) -> Baseline:
        time = NOW + timedelta(seconds=seconds)
        return Baseline(device_id=owner, path=path, time=time, pinned_by="anna", pinned_at=NOW, note="ü")

    assert [await store.pin(one) for one in (baseline("/etc"), baseline("/etc", 5), baseline(long_path))] == [
        True,
        False,
        True,
    ]
    assert await store.pin(baseline("/etc", owner=other))
    assert list(await store.baselines(device)) == [baseline("/etc", 5), baseline(long_path)]
    assert len(await store.baselines()) == 3
    assert [await store.unpin(device, "/etc"), await store.unpin(device, "/etc")] == [True, False]
    if kind == "real":
        await execute(dsn, "DELETE FROM devices WHERE id = $1", device)
        assert [one.device_id for one in await store.baselines()] == [other]


async def test_what_we_said_we_would_write_is_ours(kind: str, dsn: str, storage: Database, tmp_path: Path) -> None:
    real = PostgresSnapshotStore(storage, Keyring(storage, tmp_path / "history.keys"))
    store = FakeSnapshots() if kind == "fake" else real
    device, operation = await new_device(dsn), uuid7()
    await store.expect(device, "/etc/a", hashlib.sha256(b"ours").hexdigest(), operation)
    await store.expect(device, "/etc/a", hashlib.sha256(b"ours").hexdigest(), operation)
    kept = await store.add(
        device, [saw("/etc/a", "theirs", 1), saw("/etc/a", "ours", 2), saw("/etc/b", "ours", 3), saw("/etc/c", b"", 4)]
    )
    assert [(one.path, one.operation_id) for one in kept] == [
        ("/etc/a", None), ("/etc/a", operation), ("/etc/b", None), ("/etc/c", None),
    ]  # fmt: skip


async def test_what_was_expected_long_ago_is_not_ours(dsn: str, storage: Database, tmp_path: Path) -> None:
    store = PostgresSnapshotStore(storage, Keyring(storage, tmp_path / "history.keys"))
    device = await new_device(dsn)
    await store.expect(device, "/etc/a", hashlib.sha256(b"ours").hexdigest(), uuid7())
    await execute(dsn, "UPDATE config_expected_writes SET expires_at = now() - interval '1 second'")
    (kept,) = await store.add(device, [saw("/etc/a", "ours", 1)])
    assert kept.operation_id is None


async def test_the_audit_tells_what_was_done_to_a_device_in_a_time(dsn: str, tmp_path: Path) -> None:
    device = uuid7()
    async with audit_log(dsn, tmp_path) as log:
        changes = [record(Effect.CHANGE, device_id=device) for _ in range(2)]
        others = [record(Effect.READ, device_id=device), record(Effect.CHANGE, device_id=uuid7())]
        for one in (*changes, *others):
            await log.begin(one)
            await log.finish(done(one))
        begin, end = changes[0].started_at, others[-1].started_at + timedelta(seconds=1)
        found = await log.around(device, begin, end)
        every = await log.around(device, begin, end, reads=True)
        early = await log.around(device, begin - timedelta(hours=1), begin)
    assert {one.operation_id for one in found} == {one.operation_id for one in changes}
    assert len(every) == 3
    assert early == []
