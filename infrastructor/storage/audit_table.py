"""The table `data_collection_audit` and the list of its writers."""

import os
import socket
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from infrastructor.errors import DatabaseOperationError
from infrastructor.storage import sql
from infrastructor.storage.audit_text import amend, reduced
from infrastructor.storage.bounded import bounded
from infrastructor.storage.pool import DRIVER_ERRORS, Database, sqlstate_of, translated

SQL = sql.load("audit")
REPLAY_TIMEOUT_S = 10.0
SILENCE = timedelta(minutes=5)  # a writer elsewhere that says nothing for so long is gone

_OUR_IDS = 7

# SQLSTATE classes that blame the data, not the server: 21 cardinality, 22 data, 23 constraint, 54 limits.
_DATA_ERRORS = ("21", "22", "23", "54")


class AuditTable:
    """One connection of its own for records as they happen, the pool for everything that may wait."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Any = None

    async def write(self, lines: Sequence[str], timeout_s: float) -> None:
        """Commit all lines in one statement. Raises `DatabaseOperationError` after `timeout_s` at the latest.

        A statement that was given up may still be committed later; written twice it makes no difference.
        """
        try:
            await bounded(self._write(lines), timeout_s, on_timeout=self.disconnect)
        except (TimeoutError, *DRIVER_ERRORS) as error:
            self.disconnect()
            raise translated(error) from error

    async def replay(self, lines: Sequence[str]) -> list[tuple[str, str]]:
        """Write lines that may have been written before; returns those refused for ever, with the reason."""
        try:
            await self._database.execute(SQL["write"], _array(lines), timeout=REPLAY_TIMEOUT_S)
        except DatabaseOperationError as error:
            if not _blames_data(error):
                raise
            return [refusal for line in lines if (refusal := await self._replay_one(line))]
        return []

    async def find(self, operation_id: UUID) -> Any | None:
        """The row of an operation, or None. Raises `DatabaseOperationError`."""
        if operation_id.version != _OUR_IDS:
            return None
        made = datetime.fromtimestamp((operation_id.int >> 80) / 1000, UTC)
        return await self._database.fetchrow(SQL["find"], operation_id, made)

    async def around(
        self, device_id: UUID, since: datetime, until: datetime, *, limit: int, reads: bool
    ) -> Sequence[Any]:
        """Rows of a device that began in that time, newest first. Raises `DatabaseOperationError`."""
        return await self._database.fetch(SQL["around"], device_id, since, until, reads, limit)

    async def probe(self) -> None:
        """Connect anew and ask something. Raises `DatabaseOperationError`."""
        self.disconnect()
        self._connection = await self._database.dedicated()

    async def seen(self, writer: UUID, spool: UUID) -> None:
        await self._database.execute(SQL["seen"], writer, spool, socket.gethostname(), os.getpid())

    async def neighbours(self, writer: UUID, spool: UUID) -> set[UUID]:
        """Registered writers of the same spool directory, dead or alive."""
        return {row["id"] for row in await self._database.fetch(SQL["neighbours"], spool, writer)}

    async def silent(self, spool: UUID) -> set[UUID]:
        """Writers on other machines that have ended without a word, and writers that nobody knows."""
        strangers = await self._database.fetch(SQL["strangers"], spool, SILENCE)
        unclaimed = await self._database.fetch(SQL["unclaimed"], SILENCE)
        return {row["id"] for row in (*strangers, *unclaimed)}

    async def abandon(self, writers: Collection[UUID]) -> int:
        """Close what these writers left open as `unknown`; returns how many records that were."""
        status = await self._database.execute(SQL["abandon"], list(writers), timeout=REPLAY_TIMEOUT_S)
        await self._database.execute(SQL["forget"], list(writers))
        return int(status.split()[-1])

    def disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _write(self, lines: Sequence[str]) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.dedicated()
        try:
            await self._connection.execute(SQL["write"], _array(lines))
        except DRIVER_ERRORS as error:
            if not _blames_data(translated(error)):
                raise
            for line in lines:
                await self._write_one(line)

    async def _write_one(self, line: str) -> None:
        *attempts, last = _versions(line)
        for version in attempts:
            try:
                await self._connection.execute(SQL["write"], _array([version]))
            except DRIVER_ERRORS as error:
                if not _blames_data(translated(error)):
                    raise
            else:
                return
        await self._connection.execute(SQL["write"], _array([last]))

    async def _replay_one(self, line: str) -> tuple[str, str] | None:
        reason = ""
        for version in _versions(line):
            try:
                await self._database.execute(SQL["write"], _array([version]), timeout=REPLAY_TIMEOUT_S)
            except DatabaseOperationError as error:
                if not _blames_data(error):
                    raise
                reason = error.message
            else:
                return None
        return line, reason


def _versions(line: str) -> tuple[str, str, str]:
    """A record as it is, and with less and less that a database could refuse."""
    return line, reduced(line), amend(reduced(line), outcome="unknown")


def _array(lines: Sequence[str]) -> str:
    return f"[{','.join(lines)}]"


def _blames_data(error: DatabaseOperationError) -> bool:
    return (sqlstate_of(error) or "").startswith(_DATA_ERRORS)
