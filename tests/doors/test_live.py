"""Events over a WebSocket: a real client against the real server, from the ticket to the end of the connection."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import httpx2
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from api import live
from infrastructor import tokens
from infrastructor.errors import DatabaseOperationError
from infrastructor.events import Event
from infrastructor.ids import uuid7
from infrastructor.ports.callers import Role
from infrastructor.serve import Part
from tests.doors.test_serve import serving
from tests.doors.world import World


async def happen(world: World, *subjects: str, topic: str = "containers", device: str = "nas", **fields: Any) -> None:
    of = world.devices.rows[device]
    given = {"kind": "container.die", "at": datetime.now(UTC), "device_id": of.id, "device": device} | fields
    await world.events.publish([Event(id=uuid7(), topic=topic, subject=subject, **given) for subject in subjects])


class Door:
    """The REST door of a world, and the way to its WebSocket."""

    def __init__(self, port: int, bearer: dict[str, str]) -> None:
        self.port = port
        self.bearer = bearer

    async def ticket(self, **headers: str) -> httpx2.Response:
        async with httpx2.AsyncClient() as client:
            url = f"http://127.0.0.1:{self.port}/api/ws/ticket"
            return await client.post(url, headers=self.bearer | headers)

    def at(self, path: str, **headers: str) -> connect:
        return connect(f"ws://127.0.0.1:{self.port}{path}", additional_headers=headers, user_agent_header="ui/1")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[ClientConnection]:
        async with self.at((await self.ticket()).json()["path"]) as socket:
            yield socket


@pytest.fixture
async def door(world: World, tmp_path: Path) -> AsyncIterator[Door]:
    bearer = await world.bearer(Role.VIEWER)
    async with serving(world, tmp_path, Part.API) as served:
        yield Door(served.api_port, bearer)


async def ask(socket: ClientConnection, *topics: str, **more: Any) -> dict[str, Any]:
    await socket.send(json.dumps({"subscribe": topics} | more))
    return await told(socket)


async def told(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(5):
        message: dict[str, Any] = json.loads(await socket.recv())
        return message


async def subjects(socket: ClientConnection, count: int) -> list[tuple[int, str]]:
    rows = [await told(socket) for _ in range(count)]
    assert {row["type"] for row in rows} == {"event"}
    return [(row["sequence"], row["subject"]) for row in rows]


async def end_of(socket: ClientConnection) -> tuple[int, str]:
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(5):
            while True:
                await socket.recv()
    assert socket.close_code is not None
    return socket.close_code, socket.close_reason or ""


async def test_events_come_as_they_happen_in_their_order(world: World, door: Door) -> None:
    async with door.opened() as socket:
        assert await ask(socket) == {"type": "subscribed", "topics": [], "device": None, "after": 0}
        began = monotonic()
        await happen(world, "web", data={"exit_code": 1, "name": "a\u202eb"})
        first = await told(socket)
        assert monotonic() - began < 0.5
        await happen(world, *(f"c{number}" for number in range(300)))
        rest = await subjects(socket, 300)

    assert {name: first[name] for name in ("type", "sequence", "topic", "kind", "device", "subject", "severity")} == {
        "type": "event", "sequence": 1, "topic": "containers", "kind": "container.die", "device": "nas",
        "subject": "web", "severity": "info",
    }  # fmt: skip
    assert first["data"] == {"exit_code": 1, "name": "ab"}
    assert rest == [(number + 2, f"c{number}") for number in range(300)]
    assert world.outcomes == [("event_subscribe", "ok", None)]
    assert (world.records[0].caller.principal, world.records[0].caller.client) == ("viewer", "ui/1")


async def test_only_the_topics_and_the_device_asked_for_come(world: World, door: Door) -> None:
    async with door.opened() as socket:
        await ask(socket, "containers", "pools", device="nas")
        await happen(world, "no", device="web-1")
        await happen(world, "no", topic="watchers")
        await happen(world, "yes")
        await happen(world, "yes", topic="pools")
        assert await subjects(socket, 2) == [(3, "yes"), (4, "yes")]
        assert (await ask(socket, "watchers", after=0))["topics"] == ["watchers"]  # takes the place of the first
        assert await subjects(socket, 1) == [(2, "no")]

    assert world.records[0].device == "nas"


async def test_a_broken_connection_goes_on_where_it_was(world: World, door: Door) -> None:
    """Nothing is missed and nothing told twice, however often it breaks."""
    seen: list[tuple[int, str]] = []

    async def flood() -> None:
        for number in range(400):
            await happen(world, f"c{number}")
            await asyncio.sleep(0)

    flooding: asyncio.Task[None] | None = None
    after = 0
    while len(seen) < 400:
        async with door.opened() as socket:
            await ask(socket, "containers", after=after)
            flooding = flooding or asyncio.create_task(flood())
            seen += await subjects(socket, min(57, 400 - len(seen)))
            after = seen[-1][0]
    if flooding is not None:
        await flooding

    assert seen == [(number + 1, f"c{number}") for number in range(400)]


@pytest.mark.parametrize(("after", "first"), [(3, 11), (9, 11), (0, 11), (500, 13)])
async def test_what_is_no_longer_kept_is_a_gap(world: World, door: Door, after: int, first: int) -> None:
    await happen(world, *(f"c{number}" for number in range(12)))
    world.events.forgotten = 10
    async with door.opened() as socket:
        await ask(socket, after=after)
        assert await told(socket) == {"type": "gap", "after": after, "oldest": 11, "newest": 12}


async def test_no_gap_where_nothing_is_missing(world: World, door: Door) -> None:
    await happen(world, "a", "b", "c")
    world.events.forgotten = 1
    for after in (1, 2):
        async with door.opened() as socket:
            await ask(socket, after=after)
            assert (await told(socket))["sequence"] == after + 1


async def test_a_ticket_works_once(world: World, door: Door) -> None:
    answer = await door.ticket()
    assert answer.status_code == 200
    path = answer.json()["path"]
    async with door.at(path):
        pass
    for bad in (path, "/ws", "/ws?ticket=", f"/ws?ticket={'x' * 5000}", path[:-1]):
        with pytest.raises(InvalidStatus) as refused:
            await door.at(bad)
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body)["code"] == "unauthenticated"

    assert world.outcomes[0] == ("authenticate", "refused", "unauthenticated")


async def test_a_ticket_is_for_its_time_and_its_token(
    world: World, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = (await door.ticket()).json()["path"]
    monkeypatch.setattr(tokens, "TICKET_LIFETIME", timedelta(seconds=-1))
    late = (await door.ticket()).json()["path"]
    await world.token_store.revoke("viewer")
    for unusable in (late, path):
        with pytest.raises(InvalidStatus, match="401"):
            await door.at(unusable)


EVIL = [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}]


@pytest.mark.parametrize("headers", EVIL, ids=str)
async def test_no_foreign_page_gets_in(world: World, door: Door, headers: dict[str, str]) -> None:
    path = (await door.ticket()).json()["path"]
    with pytest.raises((InvalidStatus, ConnectionClosed)) as refused:
        async with connect(
            f"ws://127.0.0.1:{door.port}{path}",
            origin=headers.get("Origin"),  # type: ignore[arg-type]
            host="127.0.0.1" if "Host" in headers else None,
            additional_headers={"Host": headers["Host"]} if "Host" in headers else None,
        ):
            pass

    assert "403" in str(refused.value) or "400" in str(refused.value)
    async with connect(f"ws://127.0.0.1:{door.port}{path}", origin=f"http://127.0.0.1:{door.port}"):  # type: ignore[arg-type]
        pass  # our own page, and the ticket is still unused


NONSENSE = [
    "", "no json", "[]", "{}", '{"subscribe": "containers"}', '{"subscribe": ["UPPER"]}', '{"subscribe": [], "x": 1}',
    '{"subscribe": [], "after": -1}', '{"subscribe": [], "device": "../x"}',
]  # fmt: skip


@pytest.mark.parametrize("text", NONSENSE)
async def test_nonsense_is_answered_with_an_error(world: World, door: Door, text: str) -> None:
    async with door.opened() as socket:
        await socket.send(text)
        answer = await told(socket)
        assert (answer["type"], answer["code"]) == ("error", "validation_failed")
        assert (await ask(socket, device="nowhere"))["code"] == "device_not_found"
        assert (await ask(socket))["type"] == "subscribed"


async def test_long_binary_and_many_messages_end_it(world: World, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async with door.opened() as socket:
        await socket.send("x" * 20_000)
        assert (await end_of(socket))[0] == 1009
    async with door.opened() as socket:
        await socket.send(b"{}")
        assert (await end_of(socket))[0] == 1003
    monkeypatch.setattr(live, "MESSAGES", 3)
    async with door.opened() as socket:
        for _ in range(4):
            await socket.send('{"subscribe": []}')
        assert (await end_of(socket))[0] == 1008


async def test_the_heart_beats_and_says_how_far_it_is(
    world: World, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.05)
    async with door.opened() as socket:
        assert await told(socket) == {"type": "heartbeat", "sequence": None}
        await socket.send('{"subscribe": []}')
        while (await told(socket))["type"] != "subscribed":
            pass
        await happen(world, "web")
        while (await told(socket))["type"] != "event":
            pass
        assert await told(socket) == {"type": "heartbeat", "sequence": 1}


async def test_it_ends_with_its_token(world: World, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.05)
    async with door.opened() as socket:
        await ask(socket)
        await world.token_store.revoke("viewer")
        code, reason = await end_of(socket)

    assert (code, "revoked" in reason) == (1008, True)


async def test_a_reader_too_slow_for_events_is_told_where_to_go_on(world: World, door: Door) -> None:
    world.events.most_behind = 5
    async with door.opened() as socket:
        await ask(socket)
        await happen(world, "a")
        await told(socket)
        await happen(world, *(f"c{number}" for number in range(50)))
        code, reason = await end_of(socket)

    assert (code, reason) == (1013, "Events came faster than they were read. Go on after 1.")


async def test_a_client_that_stops_reading_is_let_go(world: World, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SEND_S", 0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
    path = (await door.ticket()).json()["path"]
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    assert b"101" in await reader.readline()
    body = b'{"subscribe": []}'
    writer.write(bytes([0x81, 0x80 | len(body), 0, 0, 0, 0]) + body)
    while world.events.statistics()["subscribers"] == 0:
        await asyncio.sleep(0.01)
    await happen(world, *(["big"] * 100), data={"text": "x" * 100_000})
    async with asyncio.timeout(10):
        while world.events.statistics()["subscribers"]:
            await asyncio.sleep(0.02)
    writer.transport.abort()  # type: ignore[attr-defined]


async def test_one_token_opens_only_so_many(world: World, door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_OF_ONE", 1)
    async with door.opened():
        with pytest.raises(InvalidStatus) as refused:
            async with door.opened():
                pass
    assert refused.value.response.status_code == 429
    assert json.loads(refused.value.response.body)["code"] == "limit_reached"
    await asyncio.sleep(0.1)
    async with door.opened() as socket:
        await ask(socket)


async def test_a_database_that_goes_away_ends_it_with_the_reason(
    world: World, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away() -> tuple[int, int]:
        raise DatabaseOperationError("PostgreSQL is away.")

    monkeypatch.setattr(world.events, "extent", away)
    async with door.opened() as socket:
        await socket.send('{"subscribe": []}')
        assert await end_of(socket) == (1013, "The database is away.")


async def test_nothing_is_left_of_a_connection(world: World, door: Door) -> None:
    before = len(asyncio.all_tasks())
    async with door.opened() as socket:
        await ask(socket)
        assert world.events.statistics()["subscribers"] == 1
    async with asyncio.timeout(5):
        while world.events.statistics()["subscribers"] or len(asyncio.all_tasks()) > before:
            await asyncio.sleep(0.02)


async def test_an_open_connection_does_not_delay_the_end(world: World, tmp_path: Path) -> None:
    bearer = await world.bearer(Role.VIEWER)
    async with serving(world, tmp_path, Part.API) as served, Door(served.api_port, bearer).opened() as socket:
        await ask(socket)
        began = monotonic()
        served.stop()
        assert (await end_of(socket))[0] == 1012
    assert monotonic() - began < 5
