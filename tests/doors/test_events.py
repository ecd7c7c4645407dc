"""A broken stream can be resumed: what was missed, in order, of that stream only."""

from mcp.server.streamable_http import EventMessage
from mcp_types import JSONRPCNotification

from mcp_server.events import RecentEvents


def note(number: int) -> JSONRPCNotification:
    return JSONRPCNotification(jsonrpc="2.0", method=f"test/{number}")


async def replayed(store: RecentEvents, event_id: str) -> tuple[str | None, list[EventMessage]]:
    heard: list[EventMessage] = []

    async def listen(event: EventMessage) -> None:
        heard.append(event)

    return await store.replay_events_after(event_id, listen), heard


async def test_what_was_missed_is_sent_again_in_order() -> None:
    store = RecentEvents()
    first = await store.store_event("a", None)
    await store.store_event("b", note(1))
    second = await store.store_event("a", note(2))
    third = await store.store_event("a", note(3))

    assert await replayed(store, first) == ("a", [EventMessage(note(2), second), EventMessage(note(3), third)])
    assert await replayed(store, third) == ("a", [])


async def test_only_so_many_are_kept() -> None:
    store = RecentEvents(kept=2)
    first = await store.store_event("a", note(1))
    second = await store.store_event("a", note(2))
    await store.store_event("a", note(3))

    assert await replayed(store, first) == (None, [])
    assert [event.message for event in (await replayed(store, second))[1]] == [note(3)]
