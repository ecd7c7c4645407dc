"""Who watches which resources, and who is to be told what: fed by one subscription to the event bus.

An update says only that a resource changed, so it is a level and no edge: of many changes within a second one is told,
and the last is always among those told. What one client can make us keep is a row per resource it watches.
"""

import asyncio
import contextlib
import contextvars
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any
from uuid import UUID

from infrastructor.errors import LimitReached, SubscriberTooSlow
from infrastructor.events import Event, EventBus
from infrastructor.operation import ChangedBy, Operation, Params

logger = logging.getLogger(__name__)

EVERY_S = 1.0
"""A resource is told of at most once in so long, to one client."""

MOST_RESOURCES = 200  # of one client
MOST_CLIENTS = 1000
MOST_CLIENTS_OF_ONE = 50  # with one token
_AGAIN_S = 1.0

Place = tuple[str | None, str | None]
"""A device and what is asked about on it; None: whichever."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One resource: what reads it, with which parameters."""

    operation: Operation[Any, Any]
    params: Params

    @property
    def places(self) -> Iterator[tuple[ChangedBy, Place]]:
        """Where events that change it are looked up. An id may be written in capitals."""
        device = getattr(self.params, "device", None)
        for change in self.operation.changed_by:
            about = None if change.subject is None else str(getattr(self.params, change.subject))
            yield change, (device, about)
            if about is not None and change.ids and about.lower() != about:
                yield change, (device, about.lower())


class Client:
    """What one session or one stream watches, and which of it changed since it was told."""

    def __init__(self, principal: str, token_id: UUID | None) -> None:
        self.principal = principal
        self.token_id = token_id  # None: it came in without, over stdio
        self.watched: dict[str, Watched] = {}
        self._due: dict[str, float] = {}
        self._told: dict[str, float] = {}
        self._news = asyncio.Event()
        self._ended = False

    def changed(self, uri: str) -> None:
        if uri not in self._due:
            self._due[uri] = max(monotonic(), self._told.get(uri, 0.0) + EVERY_S)
            self._news.set()

    def forget(self, uri: str) -> None:
        for kept in (self.watched, self._due, self._told):
            kept.pop(uri, None)

    def end(self) -> None:
        self._ended = True
        self._news.set()

    async def changes(self) -> AsyncIterator[str]:
        """URIs to tell of now, until `end`. What changes while one is being told is told again."""
        while not self._ended:
            uri = min(self._due, key=self._due.__getitem__, default=None)
            wait = None if uri is None else self._due[uri] - monotonic()
            if uri is not None and wait is not None and wait <= 0:
                del self._due[uri]
                self._told[uri] = monotonic()
                yield uri
                continue
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._news.wait()


class Watches:
    """All clients of this process. It reads the bus while there are any."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._clients: set[Client] = set()
        self._index: dict[ChangedBy, dict[Place, set[tuple[Client, str]]]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._reading = asyncio.Event()
        self._closed = False

    @contextlib.contextmanager
    def client(self, principal: str, token_id: UUID | None) -> Iterator[Client]:
        """A client for as long as the block. Raises `LimitReached`."""
        of_one = Counter(client.principal for client in self._clients)[principal]
        if len(self._clients) >= MOST_CLIENTS or of_one >= MOST_CLIENTS_OF_ONE or self._closed:
            raise LimitReached(
                f"{of_one} clients of {principal} and {len(self._clients)} in all watch resources; no more can.",
                hint=f"End one first; {MOST_CLIENTS_OF_ONE} of one token is the most.",
            )
        client = Client(principal, token_id)
        self._clients.add(client)
        try:
            yield client
        finally:
            for uri in tuple(client.watched):
                self.remove(client, uri)
            self._clients.discard(client)
            if not self._clients and self._reader is not None:
                self._reader.cancel()
                self._reader = None

    async def add(self, client: Client, uri: str, watched: Watched) -> None:
        """Return once nothing that happens from now on is missed. Raises `LimitReached`."""
        if uri not in client.watched and len(client.watched) >= MOST_RESOURCES:
            raise LimitReached(
                f"This client watches {MOST_RESOURCES} resources already.", hint="Watch a whole device instead."
            )
        client.watched[uri] = watched
        for change, place in watched.places:
            self._index.setdefault(change, {}).setdefault(place, set()).add((client, uri))
        if self._reader is None:
            self._reading.clear()
            # It outlives the request that it begins in, and must not keep what belongs to that.
            self._reader = asyncio.create_task(self._read(), name="watches", context=contextvars.Context())
        await self._reading.wait()

    def remove(self, client: Client, uri: str) -> None:
        watched = client.watched.get(uri)
        if watched is None:
            return
        client.forget(uri)
        for change, place in watched.places:
            places = self._index[change]
            places[place].discard((client, uri))
            if not places[place]:
                del places[place]

    def close(self) -> None:
        """End every client; no new one is let in."""
        self._closed = True
        for client in self._clients:
            client.end()

    async def _read(self) -> None:
        """Hand out events. Whoever reads too slowly missed some, so everybody is told that everything changed."""
        lagged = False
        while not self._closed:
            try:
                async with self._bus.subscribe() as events:
                    self._reading.set()
                    if lagged:
                        self._all_changed()
                    async for event in events:
                        self._hand_out(event)
                return  # the bus was closed
            except SubscriberTooSlow:
                logger.info("Events came faster than they were handed out; every watched resource counts as changed")
            except Exception:
                logger.exception("Events are not handed out; trying again")
                await asyncio.sleep(_AGAIN_S)
            lagged = True

    def _hand_out(self, event: Event) -> None:
        """However much is watched, an event is looked up in a few places only; a gap is rare and costs a search."""
        for change, places in self._index.items():
            if change.may_have_missed(event):
                found = {place for place in places if place[0] in {None, event.device}}
            elif change.announces(event):
                about = {None, *change.called(event)} if change.subject else {None}
                found = {(device, name) for device in (event.device, None) for name in about}
            else:
                continue
            for place in found:
                for client, uri in places.get(place, ()):
                    client.changed(uri)

    def _all_changed(self) -> None:
        for client in self._clients:
            for uri in client.watched:
                client.changed(uri)
