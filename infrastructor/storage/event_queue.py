"""What is to be published: written in batches and in order, kept for a while when PostgreSQL is away."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from infrastructor.errors import DatabaseOperationError
from infrastructor.events import Event, Severity
from infrastructor.ids import uuid7
from infrastructor.storage.pool import sqlstate_of

logger = logging.getLogger(__name__)

MAX_WAITING = 10_000
BATCH = 500
RETRY_S = 0.5
REFUSED = ("22", "23")  # SQLSTATE classes of a value that no retry makes better


class EventQueue:
    """Publishing in order. Each batch is retried until PostgreSQL has it; twice is once there."""

    def __init__(self, write: Callable[[Sequence[Event]], Awaitable[None]]) -> None:
        self._write = write
        self._waiting: deque[Event] = deque()
        self._writing: list[Event] = []
        self._accepted = 0
        self._settled = 0  # stored, refused or dropped
        self._waiters: deque[tuple[int, asyncio.Future[bool]]] = deque()
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._away = False
        self._lost: list[Event] = []  # first and last of those dropped since PostgreSQL went away
        self._counts = {"published": 0, "dropped": 0, "refused": 0}
        self._unreported = 0

    def start(self) -> None:
        self._writer = asyncio.create_task(self._write_forever(), name="events-writer")

    async def close(self) -> None:
        """Try once more to store what waits."""
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
        self._waiting.extendleft(reversed(self._writing))
        self._writing = []
        with contextlib.suppress(DatabaseOperationError):
            await self._flush()
        if self._waiting:
            logger.error("Events lost at the end: PostgreSQL is away", extra={"events": len(self._waiting)})
        self._release(stored=False)

    async def put(self, events: Sequence[Event]) -> bool:
        """True once all are stored; False when they must wait."""
        if not events:
            return True
        self._waiting.extend(events)
        self._accepted += len(events)
        self._drop_oldest()
        self._wake.set()
        if self._away or self._writer is None:
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append((self._accepted, waiter))
        return await waiter

    def statistics(self) -> dict[str, Any]:
        waiting = len(self._waiting) + len(self._writing)
        return {"state": "away" if self._away else "ok", "waiting": waiting, **self._counts}

    async def _write_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._flush()
            except DatabaseOperationError as error:
                if not self._away:
                    logger.warning("Events wait for PostgreSQL", extra={"error": error.message})
                self._away = True
                self._release(stored=False)
                await asyncio.sleep(RETRY_S)
                self._wake.set()

    async def _flush(self) -> None:
        while self._waiting:
            self._writing = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                stored = await self._store(self._writing)
            except BaseException:  # also when cancelled: the next attempt has them first again
                self._waiting.extendleft(reversed(self._writing))
                self._writing = []
                self._drop_oldest()
                raise
            self._settled += len(self._writing)
            self._counts["published"] += stored
            self._writing = []
            self._returned()
            self._release(stored=True)

    async def _store(self, batch: Sequence[Event]) -> int:
        """How many PostgreSQL took. One that it refuses must not hold up the others."""
        try:
            await self._write(batch)
        except Exception as error:
            if isinstance(error, DatabaseOperationError) and not (sqlstate_of(error) or "").startswith(REFUSED):
                raise
            if len(batch) == 1:
                self._counts["refused"] += 1
                logger.exception("An event cannot be stored", extra={"kind": batch[0].kind, "error": str(error)})
                return 0
            middle = len(batch) // 2
            return await self._store(batch[:middle]) + await self._store(batch[middle:])
        return len(batch)

    def _drop_oldest(self) -> None:
        while len(self._waiting) > MAX_WAITING:
            event = self._waiting.popleft()
            self._lost = [*self._lost[:1], event]
            self._settled += 1
            self._unreported += 1
            self._counts["dropped"] += 1

    def _returned(self) -> None:
        """PostgreSQL is back: say what it will never see."""
        if self._away:
            self._away = False
            logger.info("Events are stored again", extra={"waiting": len(self._waiting), "dropped": self._unreported})
        if self._unreported:
            first, last = self._lost[0], self._lost[-1]
            data = {"count": self._unreported, "first_at": first.at.isoformat(), "last_at": last.at.isoformat()}
            said = Event(
                id=uuid7(),
                topic="events",
                kind="events.dropped",
                at=datetime.now(UTC),
                severity=Severity.ERROR,
                data=data,
            )
            self._waiting.appendleft(said)
            self._accepted += 1
            self._lost, self._unreported = [], 0

    def _release(self, *, stored: bool) -> None:
        while self._waiters and (not stored or self._waiters[0][0] <= self._settled):
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(stored)
