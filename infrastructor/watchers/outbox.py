"""Events on their way to the bus: in order, in batches, with the brakes on when the bus is slow."""

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from infrastructor.events import Event, EventBus

MOST = 5000


class Outbox:
    """`put` hands events over and returns at once, unless very many wait."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._waiting: list[Event] = []
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sender = asyncio.create_task(self._send(), name="container-events")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sender is not None:
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender
        if self._waiting:
            await self._bus.publish(self._waiting)

    async def put(self, events: Sequence[Event]) -> None:
        self._waiting += events
        self._news.set()
        while len(self._waiting) > MOST:  # the device is slowed down rather than this process filled up
            self._room.clear()
            await self._room.wait()

    async def _send(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            batch, self._waiting = self._waiting, []
            self._room.set()
            # Once handed over it is the bus's: a cancel now must not send it again, nor forget it.
            await asyncio.shield(self._bus.publish(batch))
