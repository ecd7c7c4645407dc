"""A change on a device reaches clients of every door: published by one process, told by others, measured."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from mcp.client.subscriptions import listen
from mcp_types import ResourceUpdatedNotification
from websockets.asyncio.client import connect

from infrastructor.app import Application, open_application
from infrastructor.embedded import EmbeddedStores
from infrastructor.events import Event
from infrastructor.ids import uuid7
from infrastructor.ports.callers import Role
from infrastructor.settings import Settings
from infrastructor.snapshot_store import ConfigWatch
from infrastructor.storage.pool import Database
from infrastructor.storage.watches import PostgresWatchStore
from tests.doors.test_serve import free_port
from tests.support.wait import until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning"),
]

LIST, ONE = "docker://local", "docker://local/containers/web"
CHANGES = 20


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(
        data_dir=tmp_path_factory.mktemp("subscriptions"),
        metrics_interval_s=0,
        containers_interval_s=0,
        drives_interval_s=0,
        watch_containers=False,
        discover_configs=False,
        api_port=free_port(),
        mcp_port=free_port(),
    )


def environment(settings: Settings) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "INFRASTRUCTOR_DATA_DIR": str(settings.data_dir),
        "INFRASTRUCTOR_METRICS_INTERVAL_S": "0",
        "INFRASTRUCTOR_CONTAINERS_INTERVAL_S": "0",
        "INFRASTRUCTOR_DRIVES_INTERVAL_S": "0",
        "INFRASTRUCTOR_WATCH_CONTAINERS": "false",
        "INFRASTRUCTOR_API_PORT": str(settings.api_port),
        "INFRASTRUCTOR_MCP_PORT": str(settings.mcp_port),
    }


@pytest.fixture(scope="module")
async def collector(settings: Settings) -> AsyncIterator[Application]:
    """The process that publishes, as a watcher's would be."""
    async with open_application(settings) as application:
        yield application


@pytest.fixture(scope="module")
async def server(settings: Settings, collector: Application) -> AsyncIterator[Settings]:
    """The doors in a process of their own."""
    log = (settings.data_dir / "server.log").open("w")
    arguments = [sys.executable, "-m", "infrastructor", "serve"]
    process = await asyncio.create_subprocess_exec(
        *arguments, env=environment(settings), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
    )
    try:
        async with asyncio.timeout(60), httpx2.AsyncClient() as client:
            while True:
                try:
                    await client.get(f"http://127.0.0.1:{settings.mcp_port}/health")
                    await client.get(f"http://127.0.0.1:{settings.api_port}/health")
                    break
                except httpx2.TransportError:
                    await asyncio.sleep(0.1)
        yield settings
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)
        log.close()


@pytest.fixture(scope="module")
async def token(collector: Application) -> str:
    secret, _ = await collector.tokens.issue("assistant", Role.VIEWER)
    return secret


async def happens(application: Application, name: str = "web") -> float:
    device = await application.service.devices.find("local")
    assert device is not None
    event = Event(
        topic="containers",
        kind="container.die",
        at=datetime.now(UTC),
        id=uuid7(),
        device_id=device.id,
        device=device.hostname,
        subject=name,
    )
    began = monotonic()
    assert await application.service.events.publish([event])
    return began


def mcp(settings: Settings, token: str, door: str) -> Any:
    if door == "http":
        return StreamableHttpTransport(
            f"http://127.0.0.1:{settings.mcp_port}/mcp", headers={"Authorization": f"Bearer {token}"}
        )
    arguments = ["-m", "infrastructor", "mcp", "--role", "viewer"]
    return StdioTransport(sys.executable, arguments, env=environment(settings), log_file=Path(os.devnull))


@asynccontextmanager
async def subscribed(transport: Any, era: str, hear: Callable[[str], None], *uris: str) -> AsyncIterator[None]:
    async def heard(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            hear(str(message.params.uri))

    async with AsyncExitStack() as stack:
        handler = heard if era == "legacy" else None
        client = await stack.enter_async_context(Client(transport, mode=era, message_handler=handler))  # type: ignore[arg-type]
        if era == "legacy":
            for uri in uris:
                await client.session.subscribe_resource(uri)
            yield
            return
        subscription = await stack.enter_async_context(listen(client.session, resource_subscriptions=uris))

        async def follow() -> None:
            async for event in subscription:
                hear(event.uri)  # type: ignore[union-attr]

        following = asyncio.create_task(follow())
        yield
        following.cancel()
        await asyncio.wait([following])


@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize("door", ["http", "stdio"])
async def test_a_change_reaches_an_mcp_client_of_another_process(
    server: Settings, collector: Application, token: str, door: str, era: str
) -> None:
    told: list[tuple[str, float]] = []
    delays = []

    async with subscribed(mcp(server, token, door), era, lambda uri: told.append((uri, monotonic())), ONE, LIST):
        for number in range(5):
            began = await happens(collector)
            await until(lambda: len(told) == 2 * (number + 1), 5)  # noqa: B023 - waited for within the turn
            delays += [at - began for _, at in told[-2:]]
            await asyncio.sleep(1.05 - (monotonic() - began))  # the next one is told at once again
        await happens(collector, "another")
        await until(lambda: len(told) == 11, 5)

    assert {uri for uri, _ in told[:2]} == {ONE, LIST}
    assert told[-1][0] == LIST
    assert max(delays) < 1.0, delays
    print(f"{door} {era}: {[round(delay * 1000, 1) for delay in delays]} ms")


async def websocket(settings: Settings, token: str) -> connect:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{settings.api_port}") as client:
        answer = await client.post("/api/ws/ticket", headers={"Authorization": f"Bearer {token}"})
    return connect(f"ws://127.0.0.1:{settings.api_port}{answer.json()['path']}")


async def next_of(socket: Any) -> Any:
    async with asyncio.timeout(5):
        return json.loads(await socket.recv())


async def test_events_reach_a_browser_and_go_on_after_a_break(
    server: Settings, collector: Application, token: str
) -> None:
    delays = []
    async with await websocket(server, token) as socket:
        await socket.send('{"subscribe": ["containers"], "device": "local"}')
        after = (await next_of(socket))["after"]
        for number in range(CHANGES):
            began = await happens(collector, f"c{number}")
            event = await next_of(socket)
            delays.append(monotonic() - began)
            assert event["subject"] == f"c{number}"
            assert event["sequence"] > after
            after = event["sequence"]
    for number in range(7):
        await happens(collector, f"m{number}")
    async with await websocket(server, token) as socket:
        await socket.send(json.dumps({"subscribe": ["containers"], "device": "local", "after": after}))
        assert (await next_of(socket))["type"] == "subscribed"
        assert [(await next_of(socket))["subject"] for _ in range(7)] == [f"m{number}" for number in range(7)]

    assert max(delays) < 1.0, delays
    print(f"WebSocket: {[round(delay * 1000, 1) for delay in delays]} ms")


async def test_a_file_changed_on_a_device_is_told_at_every_door(
    server: Settings, collector: Application, token: str, tmp_path: Path
) -> None:
    """From the write to the hands of the clients, through a watcher, the store and the bus, all of them real."""
    compose = tmp_path / "compose.yml"
    compose.write_text("services: {}\n")
    device = await collector.service.devices.find("local")
    assert device is not None
    stores = await EmbeddedStores(server.data_dir).start()
    database = await Database.connect(stores.database_url)
    watch = ConfigWatch(device_id=device.id, path=str(tmp_path), source="test")
    try:
        async with collector.service.events.subscribe("configs") as events:
            assert await PostgresWatchStore(database).add_watch(watch)
            async with asyncio.timeout(60):
                assert (await anext(events)).kind == "config.create"
        told: dict[str, list[float]] = {"auto": [], "legacy": []}
        uri = f"config://local{compose}"
        hears = {era: partial(_heard, told[era]) for era in told}
        async with (
            subscribed(mcp(server, token, "http"), "auto", hears["auto"], uri),
            subscribed(mcp(server, token, "http"), "legacy", hears["legacy"], uri),
            await websocket(server, token) as socket,
        ):
            await socket.send('{"subscribe": ["configs"], "device": "local"}')
            await next_of(socket)
            began = monotonic()
            compose.write_text("services: {web: {image: nginx}}\n")
            event = await next_of(socket)
            delay = monotonic() - began
            await until(lambda: all(told.values()), 5)
    finally:
        await PostgresWatchStore(database).remove_watch(device.id, str(tmp_path), "test")
        await database.close()

    assert (event["kind"], event["subject"], event["device"]) == ("config.modify", str(compose), "local")
    assert "nginx" not in json.dumps(event)  # what is in the file is not told
    delays = {era: round((times[0] - began) * 1000) for era, times in told.items()}
    assert max(delay, *(value / 1000 for value in delays.values())) < 1.0, (delay, delays)
    print(f"file to WebSocket {delay * 1000:.0f} ms, to MCP {delays} ms")


def _heard(times: list[float], uri: str) -> None:
    times.append(monotonic())
