"""The whole way with a real engine and a real PostgreSQL: events and samples in, answers out, over two processes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from infrastructor.catalog import CATALOG
from infrastructor.errors import NotFound, ValidationFailed
from infrastructor.ports.cache import CacheState
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.ports.devices import Device
from infrastructor.scheduler import collect_containers
from infrastructor.service import UnifiedDataCollectionService
from infrastructor.ssh import AsyncSSHClient
from infrastructor.storage.containers import PostgresContainerStore
from infrastructor.storage.devices import PostgresDeviceRegistry
from infrastructor.storage.events import PostgresEventBus
from infrastructor.storage.pool import Database
from infrastructor.watchers import containers as watching
from infrastructor.watchers import fleet
from infrastructor.watchers.containers import ContainerWatcher
from infrastructor.watchers.fleet import Watchers
from infrastructor.watchers.listing import CONTAINER_ANSWERS, list_containers
from tests.fakes import FakeAudit, FakeCache, FakeMetrics, FakePlans
from tests.support.docker import IMAGE, DockerEngine
from tests.support.events import take
from tests.support.postgres import TestPostgres, rows
from tests.support.sshd import Sshd
from tests.support.wait import until

pytestmark = [pytest.mark.xdist_group("docker"), pytest.mark.timeout(120)]

VIEWER = Caller(principal="anna", role=Role.VIEWER, interface=Interface.REST)


class Process:
    """What one process of the server has: stores, engine, service, watchers."""

    def __init__(self, database: Database, client: AsyncSSHClient) -> None:
        self.events = PostgresEventBus(database)
        self.containers = PostgresContainerStore(database)
        self.devices = PostgresDeviceRegistry(database)
        self.audit = FakeAudit()
        self.service = UnifiedDataCollectionService(
            operations=CATALOG,
            devices=self.devices,
            ssh=client,
            cache=FakeCache(),
            audit=self.audit,
            metrics=FakeMetrics(),
            plans=FakePlans(),
            events=self.events,
            containers=self.containers,
        )

        def watch(device: Device, _: None, connecting: asyncio.Semaphore) -> ContainerWatcher:
            return ContainerWatcher(
                device,
                ssh=client,
                bus=self.events,
                store=self.containers,
                list_containers=partial(list_containers, client),
                outdate=lambda device: self.service.outdate(device.id, CONTAINER_ANSWERS),
                connecting=connecting,
            )

        self.watchers = Watchers(operation="container_watch", devices=self.devices, audit=self.audit, watch=watch)

    async def ask(self, name: str, **arguments: Any) -> Any:
        return (await self.service.submit(self.service.operation(name), arguments, VIEWER)).result

    async def sweep(self) -> None:
        await collect_containers(self.service)
        await self.containers.flush()


@contextlib.asynccontextmanager
async def process(dsn: str, client: AsyncSSHClient, **limits: Any) -> AsyncIterator[Process]:
    database = await Database.connect(dsn, **limits)
    made = Process(database, client)
    for part in (made.devices, made.events, made.containers):
        await part.start()
    try:
        yield made
    finally:
        for part in (made.devices, made.events, made.containers):
            await part.close()
        await database.close()


@contextlib.asynccontextmanager
async def watched(made: Process) -> AsyncIterator[None]:
    task = asyncio.create_task(made.watchers.run())
    try:
        await until(lambda: made.watchers.statistics()["modes"] == {"api": 1}, 30)
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def engine(docker_engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DockerEngine]:
    monkeypatch.setattr(watching, "LONGEST_WAIT_S", 1.0)
    monkeypatch.setattr(fleet, "LOOK_S", 0.2)
    yield docker_engine
    await asyncio.to_thread(docker_engine.remove_all)


async def test_a_container_has_a_past(
    dsn: str, client: AsyncSSHClient, docker_host: Sshd, engine: DockerEngine
) -> None:
    async with process(dsn, client) as one:
        await one.devices.add(docker_host.device("nas"))
        async with watched(one):
            busy = "while :; do :; done"
            await asyncio.to_thread(engine.docker, "run", "-d", "--name", "web", IMAGE, "sh", "-c", busy)
            for _ in range(3):
                await one.sweep()
                await asyncio.sleep(0.4)
            await asyncio.to_thread(engine.docker, "restart", "-t", "0", "web")
            await asyncio.to_thread(engine.docker, "run", "--name", "bad", IMAGE, "sh", "-c", "exit 3", check=False)
            await asyncio.sleep(0.5)
            await one.sweep()
        past = await one.ask("container_history", device="nas", container="web", since="1h", step="1h")
        assert len(past.usage.start) == 1
        assert past.cpu_percent_max > 0.5
        assert past.memory_bytes_max > 10_000
        assert (past.starts, past.failed_ends, past.oom_kills) == (2, 0, 0)
        assert {"create", "start", "restart"} <= {line.what for line in past.story}
        assert any(line.what.startswith("die with exit code 137") for line in past.story)
        bad = await one.ask("container_history", device="nas", container="bad")
        assert (bad.failed_ends, bad.usage.start) == (1, [])
        with pytest.raises(NotFound, match="'other'") as unknown:
            await one.ask("container_history", device="nas", container="other")
        assert "bad, web" in unknown.value.hint
        with pytest.raises(ValidationFailed, match="more than 150 spans"):
            await one.ask("container_history", device="nas", container="web", since="7d", step="1m")
        contacted = len(one.audit.begun)
        await one.ask("container_history", device="nas", container="web")
        assert len(one.audit.begun) == contacted, "no device is asked, so no intent need be durable"

        warnings = await one.ask("event_list", severity="warning")
        assert [(row.kind, row.subject, row.device) for row in warnings.events] == [("container.die", "bad", "nas")]
        whole = await one.ask("event_list", device="nas", topic="containers")
        first = await one.ask("event_list", device="nas", topic="containers", limit=3)
        assert first.events == whole.events[:3]
        rest = await one.ask("event_list", device="nas", topic="containers", cursor=first.next_cursor)
        assert rest.events == whole.events[3:]
        later = await one.ask("event_list", after=whole.events[-1].sequence, topic="containers")
        assert later.events == whole.events[::-1][1:]
        assert (later.newest, later.next_cursor) == (whole.newest, None)

    states = await rows(dsn, "SELECT name, state, restart_count FROM container_snapshots ORDER BY snapshot_time")
    assert [tuple(row) for row in states] == [("web", "running", 0), ("bad", "exited", 0)], "kept when they change"
    watch = [record for record in one.audit.finished if record.operation == "container_watch"]
    assert [(record.device, record.outcome) for record in watch] == [("nas", "cancelled")]
    sweeps = [record for record in one.audit.finished if record.operation == "container_stats"]
    assert len(sweeps) == 4, "one record a sweep"


async def test_another_process_is_told_and_goes_on_exactly(
    dsn: str, client: AsyncSSHClient, docker_host: Sshd, engine: DockerEngine
) -> None:
    async with process(dsn, client) as collector, process(dsn, client) as door:
        await collector.devices.add(docker_host.device("nas"))
        async with watched(collector):
            async with door.events.subscribe("containers") as stream:
                await asyncio.to_thread(engine.docker, "run", "-d", "--name", "web", IMAGE, "sleep", "100")
                had = await take(stream, 2)
            await asyncio.to_thread(engine.docker, "pause", "web")
            await asyncio.to_thread(engine.docker, "unpause", "web")
            async with door.events.subscribe("containers", after=had[-1].sequence) as stream:
                await asyncio.to_thread(engine.docker, "pause", "web")
                had += await take(stream, 3)
    kinds = [event.kind.removeprefix("container.") for event in had]
    assert kinds == ["create", "start", "pause", "unpause", "pause"]


async def test_events_wait_for_a_postgres_that_is_away(
    broken_dsn: str, own_postgres: TestPostgres, client: AsyncSSHClient, docker_host: Sshd, engine: DockerEngine
) -> None:
    async with process(broken_dsn, client, command_timeout=1, acquire_timeout=1) as one:
        await one.devices.add(docker_host.device("nas"))
        async with watched(one):
            await asyncio.to_thread(engine.docker, "run", "-d", "--name", "web", IMAGE, "sleep", "1000")
            await asyncio.to_thread(own_postgres.crash)
            for _ in range(20):
                await asyncio.to_thread(engine.docker, "pause", "web")
                await asyncio.to_thread(engine.docker, "unpause", "web")
            await asyncio.to_thread(own_postgres.start)
            with own_postgres.frozen():
                await asyncio.to_thread(engine.docker, "kill", "web")
                await asyncio.sleep(2)
            await until(lambda: one.events.statistics()["published"] >= 44, 30)
        told = await rows(broken_dsn, "SELECT kind FROM events WHERE topic = 'containers' ORDER BY sequence")
        kinds = [row["kind"].removeprefix("container.") for row in told]
        assert kinds == ["create", "start", *(["pause", "unpause"] * 20), "kill", "die"]


async def test_watchers_come_and_go_with_their_devices(
    dsn: str, client: AsyncSSHClient, docker_host: Sshd, engine: DockerEngine
) -> None:
    async with process(dsn, client) as one:
        device = docker_host.device("nas")
        await one.devices.add(device)
        async with watched(one):
            await one.devices.update(device.model_copy(update={"hostname": "renamed"}))
            await until(lambda: set(one.watchers.statistics()["devices"]) == {"renamed"}, 30)
            await one.devices.update(device.model_copy(update={"monitoring_enabled": False}))
            await until(lambda: one.watchers.statistics() == {"modes": {}, "devices": {}}, 30)
            await one.devices.update(device)
            await until(lambda: one.watchers.statistics()["modes"] == {"api": 1}, 30)
            facts = one.watchers.statistics()["devices"]["nas"]
            assert facts["reconnects"] == 0
            assert facts["mode"] == "api"


async def test_a_cached_answer_is_not_given_again_once_something_happened(
    dsn: str, client: AsyncSSHClient, engine: DockerEngine, docker_host: Sshd
) -> None:
    await asyncio.to_thread(engine.docker, "run", "-d", "--name", "web", IMAGE, "sleep", "1000")
    async with process(dsn, client) as made:
        await made.devices.add(docker_host.device("box"))
        async with watched(made):

            async def states() -> dict[str, str]:
                listed = await made.ask("container_list", device="box")
                return {row.name: row.state for row in listed.containers}

            async def hit() -> bool:
                operation = made.service.operation("container_list")
                return (await made.service.submit(operation, {"device": "box"}, VIEWER)).cache is CacheState.HIT

            assert await states() == {"web": "running"}
            assert await hit()
            await asyncio.to_thread(engine.docker, "kill", "web")  # behind our back
            async with asyncio.timeout(5):
                while await states() == {"web": "running"}:
                    await asyncio.sleep(0.02)
            assert await states() == {"web": "exited"}
            assert await hit()
