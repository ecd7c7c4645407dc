"""The whole way with a real PostgreSQL: from a written file to its stored version and its event."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from statistics import median
from uuid import UUID

import pytest

from infrastructor.events import EventFilter
from infrastructor.snapshot_store import Change, ConfigWatch, Snapshot, Version
from infrastructor.ssh import AsyncSSHClient
from infrastructor.storage.devices import PostgresDeviceRegistry
from infrastructor.storage.events import PostgresEventBus
from infrastructor.storage.keys import Keyring
from infrastructor.storage.pool import Database
from infrastructor.storage.snapshots import PostgresSnapshotStore
from infrastructor.storage.watches import PostgresWatchStore
from infrastructor.watchers import fleet
from infrastructor.watchers.configs import config_watchers
from infrastructor.watchers.fleet import Watchers
from tests.fakes import FakeAudit
from tests.support.sshd import Sshd, settings
from tests.support.wait import until

pytestmark = [pytest.mark.xdist_group("file_watchers"), pytest.mark.timeout(120)]


class World:
    """The parts that a process which collects has."""

    def __init__(self, database: Database, client: AsyncSSHClient, folder: Path) -> None:
        self.devices = PostgresDeviceRegistry(database)
        self.events = PostgresEventBus(database)
        self.snapshots = PostgresSnapshotStore(database, Keyring(database, folder / "history.keys"))
        self.kept_at = 0.0
        self._add, self.snapshots.add = self.snapshots.add, self.add  # type: ignore[method-assign]
        self.watches = PostgresWatchStore(database)
        self.audit = FakeAudit()
        self.watchers: Watchers = config_watchers(
            settings(),
            devices=self.devices,
            audit=self.audit,
            ssh=client,
            snapshots=self.snapshots,
            watches=self.watches,
        )

    async def add(self, device_id: UUID, versions: Sequence[Version]) -> Sequence[Snapshot]:
        """What the store does, and when it was done."""
        kept = await self._add(device_id, versions)
        self.kept_at = time.monotonic()
        return kept


@pytest.fixture
async def world(
    storage: Database, client: AsyncSSHClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    monkeypatch.setattr(fleet, "LOOK_S", 0.1)
    made = World(storage, client, tmp_path)
    await made.devices.start()
    await made.events.start()
    yield made
    await made.events.close()
    await made.devices.close()


@contextlib.asynccontextmanager
async def running(watchers: Watchers) -> AsyncIterator[None]:
    task = asyncio.create_task(watchers.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_change_is_kept_and_told(world: World, sshd: Sshd, watched_folder: Path) -> None:
    device = sshd.device()
    await world.devices.add(device)
    compose, other = watched_folder / "compose.yml", watched_folder / "more" / "app.ini"
    compose.write_text("services:\n  web:\n    image: nginx:1\n")
    other.parent.mkdir()
    other.write_text("[a]\n")
    async with running(world.watchers):
        assert not world.watchers.watches
        await world.watches.add_watch(ConfigWatch(device_id=device.id, path=str(compose), source="compose"))
        await until(lambda: world.watchers.statistics()["modes"] == {"python3": 1}, 20)
        compose.write_text("services:\n  web:\n    image: nginx:2\n")
        took = []
        for number in range(3, 11):
            began = time.monotonic()
            compose.write_text(f"services:\n  web:\n    image: nginx:{number}\n")
            await arrived(world, device.id, compose, number)
            took.append(world.kept_at - began)
            await asyncio.sleep(1.1)  # a file that changes more often is told once a second
        print(f"change to stored version: median {median(took) * 1000:.0f} ms, worst {max(took) * 1000:.0f} ms")
        assert median(took) < 0.5
        await world.watches.add_watch(ConfigWatch(device_id=device.id, path=str(other.parent), source="user"))
        await until(lambda: "watch " + str(other.parent) in str(world.audit.begun), 20)
        await until(lambda: world.watchers.statistics()["modes"] == {"python3": 1}, 20)
        compose.unlink()
        async with asyncio.timeout(10):
            while (await world.snapshots.history(device_id=device.id, limit=1))[0].change is not Change.DELETE:
                await asyncio.sleep(0.05)
        await world.devices.remove(device.id)
        await until(lambda: not world.watchers.watches, 10)
    kinds = [event.kind for event in await world.events.latest(EventFilter(topics=("configs",)), limit=100)]
    assert kinds[0] == "config.delete"
    assert "config.modify" in kinds
    assert "config.create" in kinds


async def arrived(world: World, device_id: UUID, path: Path, number: int) -> None:
    async with asyncio.timeout(10):
        while True:
            found = await world.snapshots.history(device_id=device_id, path=str(path), limit=1)
            if found and found[0].content_hash:
                content = (await world.snapshots.contents([found[0].content_hash]))[found[0].content_hash]
                if f"nginx:{number}\n".encode() in content:
                    return
            await asyncio.sleep(0.002)


async def test_names_that_are_no_text_survive_a_restart(world: World, sshd: Sshd, watched_folder: Path) -> None:
    device = sshd.device()
    await world.devices.add(device)
    odd = watched_folder / "caf\udce9.conf"  # a Latin-1 name
    odd.write_text("1")
    await world.watches.add_watch(ConfigWatch(device_id=device.id, path=str(watched_folder), source="user"))
    for content in ("1", "2"):
        odd.write_text(content)
        async with running(world.watchers):
            await until(lambda: world.watchers.statistics()["modes"] == {"python3": 1}, 20)
            await asyncio.sleep(0.5)
    found = await world.snapshots.history(device_id=device.id)
    assert [(one.change, one.path) for one in found] == [(Change.MODIFY, str(odd)), (Change.CREATE, str(odd))]
    spans = await world.snapshots.blind(device.id, found[-1].time, found[0].time)
    assert any("did not watch" in span.reason and span.end > span.begin for span in spans)
