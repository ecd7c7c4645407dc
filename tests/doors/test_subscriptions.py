"""Subscriptions to resources, with the clients of both protocol eras: what changes is told, to whom it may concern."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import pytest
from fastmcp import Client
from mcp.client.subscriptions import ResourceUpdated, listen
from mcp.shared.exceptions import MCPError
from mcp_types import ResourceUpdatedNotification
from pydantic import Field

from infrastructor.events import GAP, Event
from infrastructor.ids import uuid7
from infrastructor.operation import ChangedBy, Context, DeviceParams, Operation, Result, operation
from infrastructor.ports.callers import Effect, Role
from mcp_server import watches
from mcp_server.server import create_server
from tests.doors.catalog import OPERATIONS
from tests.doors.clients import mcp_http, stdio
from tests.doors.world import World

# The SDK's client warns that the handshake era is the older one.
pytestmark = pytest.mark.filterwarnings("ignore:resources/:mcp.shared.exceptions.MCPDeprecationWarning")


class Said(Result):
    said: dict[str, Any] = Field(description="What was asked.")


class BoxParams(DeviceParams):
    box: str = Field(pattern=r"^[a-z0-9]+$", description="Name or id.")


@operation(
    name="box_list",
    effect=Effect.READ,
    route="GET /api/boxes/{device}",
    resource_uri="box://{device}",
    changed_by=(ChangedBy(topic="boxes"),),
)
async def box_list(ctx: Context, params: DeviceParams) -> Said:
    """List boxes. For these tests."""
    return Said(said={})


@operation(
    name="box_get",
    effect=Effect.READ,
    route="GET /api/boxes/{device}/{box}",
    resource_uri="box://{device}/{box}",
    changed_by=(ChangedBy(topic="boxes", subject="box", names=("old_name",), ids=("box_id",)),),
)
async def box_get(ctx: Context, params: BoxParams) -> Said:
    """Show a box. For these tests."""
    return Said(said=params.model_dump())


@operation(
    name="safe_get",
    effect=Effect.READ,
    route="GET /api/safes/{device}",
    resource_uri="safe://{device}",
    changed_by=(ChangedBy(topic="boxes"),),
    role=Role.ADMIN,
)
async def safe_get(ctx: Context, params: DeviceParams) -> Said:
    """Show a safe. For these tests."""
    return Said(said={})


BOXES: tuple[Operation[Any, Any], ...] = (*OPERATIONS, box_list, box_get, safe_get)
ONE, ALL, SAFE = "box://nas/web", "box://nas", "safe://nas"


@pytest.fixture
def world() -> World:
    return World(operations=BOXES)


async def happens(world: World, subject: str, device: str = "nas", **fields: Any) -> float:
    given = {"topic": "boxes", "kind": "box.moved"} | fields
    event = Event(id=uuid7(), at=datetime.now(UTC), device=device, subject=subject, **given)
    await world.events.publish([event])
    return monotonic()


class Ear:
    """What a client was told: (URI, when)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, float]] = []

    def hear(self, uri: str) -> None:
        self.told.append((uri, monotonic()))

    @property
    def uris(self) -> list[str]:
        return [uri for uri, _ in self.told]

    async def hears(self, count: int, within_s: float = 5.0) -> list[str]:
        async with asyncio.timeout(within_s):
            while len(self.told) < count:
                await asyncio.sleep(0.005)
        return self.uris

    async def stays_at(self, count: int, for_s: float = 0.3) -> None:
        await asyncio.sleep(for_s)
        assert len(self.told) == count, self.uris


Opened = Callable[..., Any]


@asynccontextmanager
async def subscribed(opened: Opened, era: str, *uris: str) -> AsyncIterator[tuple[Ear, Client[Any]]]:
    """A client of an era that subscribed, over the door that `opened` makes one of."""
    ear = Ear()

    async def heard(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            ear.hear(str(message.params.uri))

    if era == "legacy":
        async with opened(era=era, message_handler=heard) as client:
            for uri in uris:
                await client.session.subscribe_resource(uri)
            yield ear, client
        return
    async with opened(era=era) as client, listen(client.session, resource_subscriptions=uris) as subscription:
        assert subscription.honored.resource_subscriptions == list(uris)

        async def follow() -> None:
            async for event in subscription:
                assert isinstance(event, ResourceUpdated)
                ear.hear(event.uri)

        following = asyncio.create_task(follow())
        yield ear, client
        following.cancel()
        await asyncio.wait([following])


def over_stdio(world: World, role: Role = Role.VIEWER) -> Opened:
    return lambda **options: stdio(world, role=role, **options)


def over_http(world: World, token: str) -> Opened:
    return lambda **options: mcp_http(world, token, **options)


ERAS = ("auto", "legacy")
DOORS = ("stdio", "http")


async def door(world: World, name: str, role: Role = Role.VIEWER) -> Opened:
    return over_stdio(world, role) if name == "stdio" else over_http(world, await world.token(role))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("name", DOORS)
async def test_a_change_is_told_at_once(world: World, name: str, era: str) -> None:
    async with subscribed(await door(world, name), era, ONE) as (ear, _):
        began = await happens(world, "web")
        assert await ear.hears(1) == [ONE]

    assert ear.told[0][1] - began < 0.5
    assert world.outcomes == [("resource_subscribe", "ok", None)]
    assert (world.records[0].params, world.records[0].device) == ({"uri": ONE}, "nas")


@pytest.mark.parametrize("era", ERAS)
async def test_only_what_was_subscribed_to_is_told(world: World, era: str) -> None:
    async with subscribed(over_stdio(world), era, ONE, ALL) as (ear, client):
        await happens(world, "db")  # another box of the device: only the list of all changes
        await happens(world, "web", device="web-1")
        await happens(world, "web", topic="pools")
        assert await ear.hears(1) == [ALL]
        await ear.stays_at(1)
        (content,) = await client.read_resource(ONE)  # the same connection goes on answering

    assert json.loads(content.text)["said"] == {"device": "nas", "box": "web"}


@pytest.mark.parametrize(
    "fields",
    [
        {"subject": "new", "data": {"old_name": "abc123"}},
        {"subject": "web", "data": {"box_id": "abc123def456"}},
        {"subject": "boxes", "topic": "watchers", "kind": GAP, "data": {"complete": False}},
    ],
    ids=["by its old name", "by the start of its id", "after a gap"],
)
async def test_the_subject_has_other_names(world: World, fields: dict[str, Any]) -> None:
    async with subscribed(over_stdio(world), "auto", "box://nas/abc123") as (ear, _):
        await happens(world, "web", data={"box_id": "123abc"})
        await happens(world, "boxes", topic="watchers", kind=GAP, data={"complete": True})
        await happens(world, **fields)
        await ear.hears(1)
        await ear.stays_at(1)


@pytest.mark.parametrize("era", ERAS)
async def test_a_flood_is_told_once_a_second_and_its_end_is_not_missed(world: World, era: str) -> None:
    async with subscribed(over_stdio(world), era, ONE) as (ear, _):
        await happens(world, "web")
        await ear.hears(1)
        for _ in range(500):
            last = await happens(world, "web")
        await ear.hears(2)
        await ear.stays_at(2, for_s=1.2)

    first, second = (at for _, at in ear.told)
    assert watches.EVERY_S - 0.05 < second - first < watches.EVERY_S + 0.5
    assert second > last


@pytest.mark.parametrize("era", ERAS)
async def test_an_update_for_every_change_that_is_waited_for(
    world: World, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of 200 changes in a row is missed, and the way from the bus to the client is short."""
    monkeypatch.setattr(watches, "EVERY_S", 0.0)
    delays = []
    async with subscribed(over_http(world, await world.token(Role.VIEWER)), era, ONE) as (ear, _):
        for number in range(200):
            began = await happens(world, "web")
            await ear.hears(number + 1)
            delays.append(ear.told[-1][1] - began)

    delays.sort()
    assert delays[189] < 0.25, f"p50 {delays[100]:.4f} s, p95 {delays[189]:.4f} s"


@pytest.mark.parametrize("era", ERAS)
async def test_whoever_lags_is_told_that_everything_changed(world: World, era: str) -> None:
    world.events.most_behind = 5
    async with subscribed(over_stdio(world), era, ONE, ALL) as (ear, _):
        event = Event(topic="boxes", kind="box.moved", at=datetime.now(UTC), id=uuid7(), device="web-1", subject="x")
        await world.events.publish([event])
        await asyncio.sleep(0.05)  # the reader is live now
        await world.events.publish([event.__class__(**{**_fields(event), "id": uuid7()}) for _ in range(50)])
        assert sorted(await ear.hears(2)) == [ALL, ONE]
        await asyncio.sleep(watches.EVERY_S)
        await happens(world, "web")
        assert sorted((await ear.hears(4))[2:]) == [ALL, ONE]


def _fields(event: Event) -> dict[str, Any]:
    return {"topic": event.topic, "kind": event.kind, "at": event.at, "device": event.device, "subject": event.subject}


REFUSED = [
    ("box://nowhere/web", "device_not_found"),
    ("box://nas/WEB", "validation_failed"),
    ("box://nas/%2e%2e", "validation_failed"),
    ("nothing://at/all", "not_found"),
    ("thing://all", "validation_failed"),  # it can be read, but nothing tells when it changes
    (SAFE, "permission_denied"),
    ("box://nas/" + "x" * 5000, "not_found"),
]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("uri", "code"), REFUSED, ids=[uri[:20] for uri, _ in REFUSED])
async def test_what_cannot_be_read_or_told_is_refused_and_recorded(world: World, era: str, uri: str, code: str) -> None:
    with pytest.raises(MCPError, match=code) as refusal:
        async with subscribed(over_stdio(world), era, uri):
            pass

    assert refusal.value.error.data["error"]["code"] == code
    assert [(outcome, error) for _, outcome, error in world.outcomes] == [("refused", code)]
    assert world.events.statistics()["subscribers"] == 0


async def test_an_admin_may_subscribe_to_what_a_viewer_may_not(world: World) -> None:
    async with subscribed(over_stdio(world, Role.ADMIN), "auto", SAFE) as (ear, _):
        await happens(world, "web")
        assert await ear.hears(1) == [SAFE]


async def test_unsubscribed_is_not_told(world: World) -> None:
    async with subscribed(over_stdio(world), "legacy", ONE, ALL) as (ear, client):
        await client.session.unsubscribe_resource(ONE)
        await client.session.unsubscribe_resource("box://nas/never")
        await happens(world, "web")
        assert await ear.hears(1) == [ALL]
        await ear.stays_at(1)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("name", DOORS)
async def test_a_subscription_ends_with_its_session_or_stream(world: World, name: str, era: str) -> None:
    async with subscribed(await door(world, name), era, ONE):
        assert world.events.statistics()["subscribers"] == 1  # however many subscribe
        before = {task.get_name() for task in asyncio.all_tasks()}
    await asyncio.sleep(0.1)

    assert "watches" in before
    assert world.events.statistics()["subscribers"] == 0
    assert {task.get_name() for task in asyncio.all_tasks()} & {"watches", "resource-updates"} == set()


@pytest.mark.parametrize("era", ERAS)
async def test_all_clients_share_one_reader_of_events(world: World, era: str) -> None:
    server = create_server(world.application(), local_role=Role.VIEWER)

    def opened(**options: Any) -> Client[Any]:
        options["mode"] = options.pop("era")
        return Client(server, **options)

    async with subscribed(opened, era, ONE) as (first, _), subscribed(opened, era, ONE) as (second, _):
        assert world.events.statistics()["subscribers"] == 1
        await happens(world, "web")
        assert (await first.hears(1), await second.hears(1)) == ([ONE], [ONE])


@pytest.mark.parametrize("era", ERAS)
async def test_a_revoked_token_is_told_nothing_more(world: World, era: str) -> None:
    async with subscribed(over_http(world, await world.token(Role.VIEWER)), era, ONE) as (ear, _):
        await world.token_store.revoke("viewer")
        await happens(world, "web")
        await ear.stays_at(0)


@pytest.mark.parametrize("era", ERAS)
async def test_there_is_a_most_of_everything(world: World, era: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "MOST_CLIENTS_OF_ONE", 1)
    monkeypatch.setattr(watches, "MOST_RESOURCES", 1)
    monkeypatch.setattr("mcp_server.subscriptions.MOST_RESOURCES", 1)
    server = create_server(world.application(), local_role=Role.VIEWER)

    def opened(**options: Any) -> Client[Any]:
        options["mode"] = options.pop("era")
        return Client(server, **options)

    with pytest.raises(MCPError, match=r"limit_reached|validation_failed"):
        async with subscribed(opened, era, ONE, ALL):
            pass
    async with subscribed(opened, era, ONE):
        with pytest.raises(MCPError, match="limit_reached"):
            async with subscribed(opened, era, ONE):
                pass


async def test_what_is_advertised_is_what_is_done(world: World) -> None:
    async with stdio(world, era="legacy") as client:
        legacy = client.initialize_result.capabilities
    async with stdio(world) as client:
        modern = client.session.discover_result.capabilities

    for found in (legacy, modern):
        assert found.resources.subscribe is True
        assert (found.resources.list_changed, found.tools.list_changed) == (False, False)


async def test_a_list_that_never_changes_is_not_promised(world: World) -> None:
    async with stdio(world) as client, listen(client.session, tools_list_changed=True) as subscription:
        assert subscription.honored.tools_list_changed is None
