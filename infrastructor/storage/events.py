"""The `EventBus` over the table `events`: stored in one order, announced by NOTIFY, read by every process."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from infrastructor.errors import DatabaseOperationError
from infrastructor.events import Event, EventFilter, Severity
from infrastructor.storage import sql
from infrastructor.storage.event_queue import EventQueue
from infrastructor.storage.listener import Listener
from infrastructor.storage.pool import Database
from infrastructor.storage.subscription import Subscription

SQL = sql.load("events")
CHANNEL = "infrastructor_events"
PAGE = 500
LAST = 2**63 - 1
AGAIN_S = 0.5  # a subscriber that reads what it missed waits so long for a PostgreSQL that is away
_RANK = {Severity.INFO: 10, Severity.WARNING: 20, Severity.ERROR: 30, Severity.CRITICAL: 40}
_SEVERITY = {rank: severity for severity, rank in _RANK.items()}


class PostgresEventBus:
    """One reader a process follows the table and hands events to this process's subscribers."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._position = 0  # everything up to here has been handed out
        self._subscriptions: set[Subscription] = set()
        self._listener = Listener(database, CHANNEL, self._hand_out)
        self._queue = EventQueue(self._write)

    async def start(self) -> None:
        """Listen, then write. Raises `DatabaseOperationError`."""
        self._position = await self._newest()
        await self._listener.start()
        self._queue.start()

    async def close(self) -> None:
        await self._queue.close()
        await self._listener.close()
        for subscription in self._subscriptions:
            subscription.end(None)

    async def publish(self, events: Sequence[Event]) -> bool:
        """Return once stored, or False once it is known that PostgreSQL is away; see `events.EventBus`."""
        return await self._queue.put(events)

    @asynccontextmanager
    async def subscribe(
        self, *topics: str, device_id: UUID | None = None, after: int | None = None
    ) -> AsyncIterator[AsyncIterator[Event]]:
        """Events in order; see `events.EventBus`."""
        wanted = EventFilter(topics=topics, device_id=device_id)
        if after is None:
            try:
                after = await self._newest()
            except DatabaseOperationError:
                after = self._position
        subscription = Subscription(wanted, after)
        self._subscriptions.add(subscription)
        try:
            yield self._stream(subscription)
        finally:
            self._subscriptions.discard(subscription)

    async def since(self, sequence: int, wanted: EventFilter, limit: int = PAGE) -> Sequence[Event]:
        return await self._read("since", sequence, LAST, wanted, limit)

    async def latest(self, wanted: EventFilter, limit: int = PAGE, before: int | None = None) -> Sequence[Event]:
        return await self._read("latest", 0, LAST if before is None else before, wanted, limit)

    async def tally(self, wanted: EventFilter) -> Mapping[tuple[str, Severity], int]:
        rows = await self._database.fetch(SQL["tally"], *_parameters(wanted))
        return {(row["kind"], _SEVERITY.get(row["severity"], Severity.INFO)): row["count"] for row in rows}

    async def extent(self) -> tuple[int, int]:
        (row,) = await self._database.fetch(SQL["extent"])
        return int(row["oldest"]), int(row["newest"])

    def statistics(self) -> Mapping[str, Any]:
        return {**self._queue.statistics(), "subscribers": len(self._subscriptions), "position": self._position}

    async def _stream(self, subscription: Subscription) -> AsyncIterator[Event]:
        """First what was stored before, page by page; from where it meets the reader, what the reader hands out."""
        while True:
            upto = self._position
            if subscription.position >= upto:
                subscription.live = True  # nothing was awaited since the comparison: no event falls in between
                break
            try:
                events = await self._read("since", subscription.position, upto, subscription.wanted, PAGE)
            except DatabaseOperationError:
                await asyncio.sleep(AGAIN_S)
                continue
            for event in events:
                subscription.position = event.sequence
                yield event
            if len(events) < PAGE:
                subscription.position = upto
        async for event in subscription.events():
            yield event

    async def _hand_out(self) -> None:
        """Read what is new. Called after each notification and each reconnect."""
        while True:
            if not self._subscriptions:
                newest = await self._newest()
                if not self._subscriptions:
                    self._position = max(self._position, newest)
                    return
            events = await self._read("since", self._position, LAST, EventFilter(), PAGE)
            for event in events:
                self._position = event.sequence
                for subscription in self._subscriptions:
                    subscription.offer(event)
            if len(events) < PAGE:
                return

    async def _newest(self) -> int:
        return int(await self._database.fetchval(SQL["newest"]))

    async def _read(self, name: str, low: int, high: int, wanted: EventFilter, limit: int) -> list[Event]:
        rows = await self._database.fetch(
            SQL[name],
            low,
            high,
            *_parameters(wanted),
            limit,
        )
        return [_event(row) for row in rows]

    async def _write(self, events: Sequence[Event]) -> None:
        unique = {event.id: event for event in events}
        await self._database.fetchval(SQL["publish"], [_values(event) for event in unique.values()])


def _parameters(wanted: EventFilter) -> tuple[Any, ...]:
    return (
        list(wanted.topics),
        list(wanted.kinds),
        wanted.device_id,
        wanted.subject,
        0 if wanted.severity is None else _RANK[wanted.severity],
        wanted.since,
        wanted.until,
    )


def _values(event: Event) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "at": event.at.isoformat(),
        "device_id": None if event.device_id is None else str(event.device_id),
        "severity": _RANK[event.severity],
        "topic": event.topic,
        "kind": event.kind,
        "device": event.device,
        "subject": event.subject,
        "data": dict(event.data),
    }


def _event(row: Any) -> Event:
    return Event(**{**dict(row), "severity": _SEVERITY.get(row["severity"], Severity.INFO)})
