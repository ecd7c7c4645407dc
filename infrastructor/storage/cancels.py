"""Asking other processes to stop a run: a row, and a NOTIFY that says to look."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from uuid import UUID

from infrastructor.storage import sql
from infrastructor.storage.listener import Listener
from infrastructor.storage.pool import Database

SQL = sql.load("cancels")
CHANNEL = "infrastructor_cancel_requests"


class PostgresCancelRequests:
    """`CancelRequests` over the table of that name. What was asked while we could not listen is found afterwards."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._listener: Listener | None = None

    async def follow(self, heed: Callable[[], Awaitable[None]]) -> None:
        """Call `heed` whenever somebody asked something. Raises `DatabaseOperationError`."""
        self._listener = Listener(self._database, CHANNEL, heed)
        await self._listener.start()

    async def close(self) -> None:
        if self._listener is not None:
            await self._listener.close()

    async def ask(self, operation_id: UUID, by: str) -> None:
        await self._database.execute(SQL["ask"], operation_id, by)

    async def asked(self, operation_ids: Collection[UUID]) -> Mapping[UUID, str]:
        if not operation_ids:
            return {}
        rows = await self._database.fetch(SQL["asked"], list(operation_ids))
        return {row["operation_id"]: row["requested_by"] for row in rows}
