"""Versions on their way to the store: in order, in batches, tried again while the store is away, and bounded."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self
from uuid import UUID

from infrastructor.errors import InfrastructorError
from infrastructor.snapshot_store import BlindTime, SnapshotStore, Version

logger = logging.getLogger(__name__)

MOST, MOST_BYTES = 20_000, 16 << 20
BATCH, BATCH_BYTES = 500, 4 << 20
AGAIN_S, LONGEST_WAIT_S = 0.2, 15.0


class VersionOutbox:
    """`put` returns at once unless very much waits: then the device is slowed down rather than this process filled."""

    def __init__(self, device_id: UUID, store: SnapshotStore, said: Callable[[str], None]) -> None:
        self._device_id = device_id
        self._store = store
        self._said = said  # why nothing can be stored now; "" when it can
        self._waiting: deque[Version | BlindTime] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._sender: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sender = asyncio.create_task(self._send(), name="file-versions")
        self._sender.add_done_callback(lambda _: self._room.set())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """What waits is tried once more; what cannot be stored the next start finds again by comparing."""
        if self._sender is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._empty.wait()
            self._sender.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sender

    async def put(self, item: Version | BlindTime) -> None:
        self._check()
        self._waiting.append(item)
        self._bytes += _size(item)
        self._empty.clear()
        self._news.set()
        while len(self._waiting) > MOST or self._bytes > MOST_BYTES:
            self._room.clear()
            await self._room.wait()
            self._check()

    def _check(self) -> None:
        """Raise what broke the sender: else everything from then on would be taken, and kept by nobody."""
        if self._sender is not None and self._sender.done():
            self._sender.result()

    async def _send(self) -> None:
        """While one batch is stored the next one is made ready, unless it is of the same files."""
        before: asyncio.Future[None] | None = None
        on_its_way: frozenset[str] | None = frozenset()  # None: nothing may go beside it
        while True:
            if before is not None and not self._waiting:
                await asyncio.shield(before)
                before = None
                continue
            while not self._waiting:
                self._empty.set()
                self._news.clear()
                await self._news.wait()
            batch = self._take()
            paths = None if isinstance(batch, BlindTime) else frozenset(version.path for version in batch)
            if before is not None and (paths is None or on_its_way is None or not paths.isdisjoint(on_its_way)):
                await asyncio.shield(before)
                before = None
            # Once handed over it is the store's: a cancel now must not leave it half told.
            after = asyncio.ensure_future(self._store_all(batch))
            if before is not None:
                await asyncio.shield(before)
            before, on_its_way = after, paths
            self._room.set()

    def _take(self) -> list[Version] | BlindTime:
        """The next span, or versions up to the next one, each file once."""
        first = self._waiting.popleft()
        self._bytes -= _size(first)
        if isinstance(first, BlindTime):
            return first
        batch, paths, size = [first], {first.path}, _size(first)
        while self._waiting and len(batch) < BATCH and size < BATCH_BYTES:
            item = self._waiting[0]
            if isinstance(item, BlindTime) or item.path in paths:
                break
            batch.append(item)
            paths.add(item.path)
            size += _size(item)
            self._waiting.popleft()
            self._bytes -= _size(item)
        return batch

    async def _store_all(self, batch: list[Version] | BlindTime) -> None:
        wait = AGAIN_S
        while True:
            try:
                if isinstance(batch, BlindTime):
                    await self._store.add_blind(self._device_id, batch)
                else:
                    await self._store.add(self._device_id, batch)
            except InfrastructorError as error:
                if wait == AGAIN_S:
                    logger.warning("Versions of files wait for the database", extra={"reason": error.message})
                self._said(error.message)
                await asyncio.sleep(wait)
                wait = min(LONGEST_WAIT_S, wait * 2)
                continue
            self._said("")
            return


def _size(item: Version | BlindTime) -> int:
    return 200 + (len(item.content or b"") if isinstance(item, Version) else 0)
