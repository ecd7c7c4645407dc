"""Long work over MCP: the operation's id as soon as the work proves long, and a sign of life every two seconds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic
from uuid import UUID

from fastmcp.server.context import Context

FIRST_S = 0.04
"""Answers from the cache and quick commands are there by then, and cost no further message."""

EVERY_S = 1.9
_STEP = 0.001


def wants_progress(context: Context) -> bool:
    """Whether the client sent a progress token with this request."""
    request = context.request_context
    meta = None if request is None else request.meta
    return meta is not None and meta.get("progressToken") is not None


class Announcer:
    """Passes on what the operation says of itself; where it says nothing, says that it runs."""

    def __init__(self, context: Context, name: str) -> None:
        self._context = context
        self._name = name
        self._began = self._said = monotonic()
        self._id: UUID | None = None
        self._done = 0.0
        self._total: float | None = None
        self._message = "running"
        self._named = False
        self.living: asyncio.Task[None] | None = None

    def started(self, operation_id: UUID) -> None:
        self._id = operation_id

    async def report(self, done: float, total: float | None, message: str) -> None:
        """What the operation says of itself."""
        # The protocol wants a number that grows with every message, whatever it counts.
        self._done = done if done > self._done or self._said == self._began else self._done + _STEP
        self._total, self._message, self._said = total, message, monotonic()
        await self._context.report_progress(self._done, total, message)

    def begin(self) -> None:
        """Called once the work proves long."""
        self.living = asyncio.create_task(self._live())

    async def _live(self) -> None:
        while True:
            silent = monotonic() - self._said
            if self._id is not None and (silent >= EVERY_S or not self._named):
                seconds = monotonic() - self._began
                self._done += _STEP
                self._said, silent, self._named = monotonic(), 0.0, True
                message = f"{self._name} {self._id}: {self._message}, {seconds:.0f} s"
                await self._context.report_progress(self._done, self._total, message)
            await asyncio.sleep(max(FIRST_S, EVERY_S - silent) if self._named else FIRST_S)


@asynccontextmanager
async def announced(context: Context, name: str) -> AsyncIterator[Announcer]:
    """An announcer that lives as long as the work inside."""
    announcer = Announcer(context, name)
    beginning = asyncio.get_running_loop().call_later(FIRST_S, announcer.begin)
    try:
        yield announcer
    finally:
        beginning.cancel()
        if announcer.living is not None:
            announcer.living.cancel()
            await asyncio.wait([announcer.living])
            if not announcer.living.cancelled():
                announcer.living.exception()  # the client may be gone
