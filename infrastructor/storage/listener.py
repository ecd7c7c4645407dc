"""LISTEN on one channel for as long as the process lives."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from infrastructor.errors import DatabaseOperationError
from infrastructor.storage.bounded import bounded
from infrastructor.storage.pool import DRIVER_ERRORS, Database

logger = logging.getLogger(__name__)

RECONNECT_S = 0.5
CHECK_S = 10.0  # a connection that died silently is noticed after so long
CHECK_TIMEOUT_S = 2.0


class Listener:
    """Calls `changed` after each notification, and after each reconnect for those it may have missed.

    Notifications that arrive while `changed` runs are answered by one more call. `changed` may raise
    `DatabaseOperationError`: it is called again.
    """

    def __init__(self, database: Database, channel: str, changed: Callable[[], Awaitable[None]]) -> None:
        self._database = database
        self._channel = channel
        self._changed = changed
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.connected = False

    async def start(self) -> None:
        """Listen before returning, so that no change is missed from here on. Raises `DatabaseOperationError`."""
        connection = await self._listen()
        self._wake.set()
        self._task = asyncio.create_task(self._follow(connection), name=f"listen-{self._channel}")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _listen(self) -> Any:
        connection = await self._database.dedicated()
        try:
            await bounded(connection.add_listener(self._channel, lambda *_: self._wake.set()), CHECK_TIMEOUT_S)
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(lambda _: self._wake.set())
        self.connected = True
        return connection

    async def _follow(self, connection: Any) -> None:
        while True:
            try:
                await self._serve(connection)
            except (DatabaseOperationError, *DRIVER_ERRORS) as error:
                logger.info("stopped listening", extra={"channel": self._channel, "error": str(error)})
            finally:
                self.connected = False
                connection.terminate()
            connection = await self._reconnected()
            logger.info("listening again", extra={"channel": self._channel})

    async def _serve(self, connection: Any) -> None:
        while not connection.is_closed():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S):
                    await self._wake.wait()
            if connection.is_closed():
                return
            if self._wake.is_set():
                self._wake.clear()
                await self._changed()
            else:
                await bounded(connection.execute("SELECT 1"), CHECK_TIMEOUT_S)

    async def _reconnected(self) -> Any:
        while True:
            await asyncio.sleep(RECONNECT_S)
            try:
                connection = await self._listen()
            except (DatabaseOperationError, *DRIVER_ERRORS):
                continue
            self._wake.set()
            return connection
