"""What is gathered in memory is written in bulk, now and then and at the end."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


class Flushing:
    """Calls `write` every `interval_s`, never twice at once. What it raises is logged, and the next turn comes."""

    def __init__(self, write: Callable[[], Awaitable[None]], interval_s: float, *, name: str) -> None:
        self._write = write
        self._interval_s = interval_s
        self._name = name
        self._writing = asyncio.Lock()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._write_forever(), name=self._name)

    async def close(self) -> None:
        """Write for the last time. A write on its way is awaited, not cancelled: what it holds would be lost."""
        self._closing.set()
        if self._task is not None:
            await self._task
        await self.now()

    async def now(self) -> None:
        """Returns when all that was gathered before was tried, by whoever."""
        async with self._writing:
            await self._write()

    async def _write_forever(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._interval_s)
            try:
                await self.now()
            except Exception:  # whatever it was, a writer that is dead would lose everything from then on
                logger.exception("A bulk write broke", extra={"writer": self._name})
