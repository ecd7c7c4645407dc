"""The last events of handshake-era streams, so that a client whose connection broke can ask for what it missed.

FastMCP's own store validates and copies every message, which costs more than the call itself; this one keeps the
objects that were sent, a fixed number of them.
"""

from collections import OrderedDict
from itertools import count
from uuid import uuid4

from mcp.server.streamable_http import EventCallback, EventId, EventMessage, EventStore, StreamId
from mcp_types import JSONRPCMessage

KEPT = 256


class RecentEvents(EventStore):
    """A ring of events over all streams. The oldest go first, whosever they are."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._events: OrderedDict[EventId, tuple[StreamId, JSONRPCMessage | None]] = OrderedDict()
        self._process = uuid4().hex
        self._numbers = count()

    async def store_event(self, stream_id: StreamId, message: JSONRPCMessage | None) -> EventId:
        event_id = f"{self._process}-{next(self._numbers)}"
        self._events[event_id] = (stream_id, message)
        if len(self._events) > self._kept:
            self._events.popitem(last=False)
        return event_id

    async def replay_events_after(self, last_event_id: EventId, send_callback: EventCallback) -> StreamId | None:
        """Send what the stream of this event got afterwards; None when the event is no longer known."""
        found = self._events.get(last_event_id)
        if found is None:
            return None
        missed = False
        for event_id, (stream_id, message) in list(self._events.items()):
            if missed and stream_id == found[0] and message is not None:
                await send_callback(EventMessage(message, event_id))
            missed = missed or event_id == last_event_id
        return found[0]
