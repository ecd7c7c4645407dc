"""What one client is told of what it watches, without a protocol in between."""

import asyncio
from time import monotonic

import pytest

from infrastructor.errors import LimitReached
from mcp_server import watches
from mcp_server.watches import Client, Watched, Watches
from tests.doors.test_subscriptions import BoxParams, box_get
from tests.fakes import FakeEvents
from tests.support.events import event


def box(name: str, device: str = "nas") -> Watched:
    return Watched(box_get, BoxParams(device=device, box=name))


async def test_what_changes_while_it_is_being_told_is_told_again() -> None:
    client = Client("a", None)
    changes = client.changes()
    client.changed("x")
    assert await anext(changes) == "x"
    client.changed("x")  # the first telling has not come back yet
    began = monotonic()
    async with asyncio.timeout(watches.EVERY_S + 1):
        assert await anext(changes) == "x"
    assert monotonic() - began > watches.EVERY_S - 0.1


async def test_what_is_due_first_is_told_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "EVERY_S", 0.1)
    client = Client("a", None)
    changes = client.changes()
    client.changed("x")
    assert await anext(changes) == "x"
    client.changed("x")
    client.changed("y")
    assert [await anext(changes), await anext(changes)] == ["y", "x"]


async def test_the_end_ends_whoever_waits() -> None:
    client = Client("a", None)

    async def follow() -> list[str]:
        return [uri async for uri in client.changes()]

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    client.end()
    assert await asyncio.wait_for(following, 1) == []


async def test_an_event_finds_whom_it_concerns_and_nothing_is_left_of_them() -> None:
    bus = FakeEvents()
    all_of_them = Watches(bus)
    with all_of_them.client("a", None) as one, all_of_them.client("b", None) as other:
        for number in range(watches.MOST_RESOURCES):
            await all_of_them.add(one, f"box://nas/c{number}", box(f"c{number}"))
        await all_of_them.add(other, "box://web-1/c7", box("c7", "web-1"))
        happened = event("box.moved", topic="boxes", device="nas", subject="c7", data={"box_id": "f" * 64})
        all_of_them._hand_out(happened)
        assert (set(one._due), set(other._due)) == ({"box://nas/c7"}, set())
        looked_up = sum(len(places) for places in all_of_them._index.values())
        assert looked_up == watches.MOST_RESOURCES + 1
        with pytest.raises(LimitReached):
            await all_of_them.add(one, "box://nas/more", box("more"))
    assert sum(len(places) for places in all_of_them._index.values()) == 0
    await asyncio.sleep(0)
    assert bus.statistics()["subscribers"] == 0
