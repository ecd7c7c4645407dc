"""How many handshakes may go on at once: few per process, fewer per address.

A handshake costs the server tens of milliseconds, and sshd's MaxStartups drops what comes too fast. An address that
drops connections is approached more slowly until it stops doing so.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PER_ADDRESS = 4
TCP_CONNECTS = 512


class _Address:
    __slots__ = ("active", "limit", "waiting")

    def __init__(self) -> None:
        self.limit = PER_ADDRESS
        self.active = 0
        self.waiting: list[asyncio.Future[None]] = []

    def wake(self) -> None:
        while self.waiting and self.active < self.limit:
            waiter = self.waiting.pop(0)
            if not waiter.done():
                self.active += 1
                waiter.set_result(None)


class HandshakeGate:
    def __init__(self, per_process: int) -> None:
        self.handshakes = asyncio.Semaphore(max(1, per_process))
        self.connects = asyncio.Semaphore(TCP_CONNECTS)
        self._addresses: dict[tuple[str, int], _Address] = {}

    @asynccontextmanager
    async def address(self, address: tuple[str, int]) -> AsyncIterator[None]:
        """Hold one of the address's places, from before TCP on: sshd counts connections that wait."""
        place = self._addresses.setdefault(address, _Address())
        await self._enter(place)
        try:
            yield
        finally:
            place.active -= 1
            place.wake()
            if not place.active and not place.waiting and place.limit == PER_ADDRESS:
                self._addresses.pop(address, None)

    async def _enter(self, place: _Address) -> None:
        if place.active < place.limit and not place.waiting:
            place.active += 1
            return
        waiter = asyncio.get_running_loop().create_future()
        place.waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                place.active -= 1
                place.wake()
            raise

    def dropped(self, address: tuple[str, int]) -> None:
        """The address closed a connection before the handshake: too many at once."""
        place = self._addresses.setdefault(address, _Address())
        place.limit = max(1, place.limit // 2)
