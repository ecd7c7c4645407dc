"""API tokens by the hash of their secret."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from infrastructor.errors import Conflict, DatabaseOperationError
from infrastructor.ids import uuid7
from infrastructor.ports.callers import Role
from infrastructor.ports.tokens import ApiToken
from infrastructor.storage import sql
from infrastructor.storage.flushing import Flushing
from infrastructor.storage.pool import Database, sqlstate_of

logger = logging.getLogger(__name__)

SQL = sql.load("tokens")
UNIQUE_VIOLATION = "23505"


class PostgresTokenStore:
    """`TokenStore` over `api_tokens`. When a token was last used is noted in memory and written in bulk."""

    def __init__(self, database: Database, *, flush_interval_s: float = 10.0) -> None:
        self._database = database
        self._used: dict[UUID, datetime] = {}
        self._flushing = Flushing(self._flush, flush_interval_s, name="token-last-used")

    async def start(self) -> None:
        self._flushing.start()

    async def close(self) -> None:
        await self._flushing.close()

    async def create(self, name: str, role: Role, secret_hash: str, expires_at: datetime | None) -> ApiToken:
        await self._database.execute(SQL["release_name"], name)
        try:
            row = await self._database.fetchrow(SQL["create"], uuid7(), name, role.value, secret_hash, expires_at)
        except DatabaseOperationError as error:
            if sqlstate_of(error) != UNIQUE_VIOLATION:
                raise
            raise Conflict(
                f"A token named {name} exists.", hint="Choose another name, or revoke that one first.", name=name
            ) from error
        return _token(row)

    async def find(self, secret_hash: str) -> ApiToken | None:
        row = await self._database.fetchrow(SQL["find"], secret_hash)
        if row is None:
            return None
        self._used[row["id"]] = datetime.now(UTC)
        return _token(row)

    async def all(self) -> Sequence[ApiToken]:
        return [_token(row) for row in await self._database.fetch(SQL["all"])]

    async def revoke(self, name: str) -> bool:
        return await self._database.execute(SQL["revoke"], name) != "UPDATE 0"

    async def valid(self, token_id: UUID) -> ApiToken | None:
        row = await self._database.fetchrow(SQL["valid"], token_id)
        return None if row is None else _token(row)

    async def add_ticket(self, token_id: UUID, ticket_hash: str, expires_at: datetime) -> None:
        await self._database.execute(SQL["add_ticket"], ticket_hash, token_id, expires_at)

    async def take_ticket(self, ticket_hash: str) -> ApiToken | None:
        row = await self._database.fetchrow(SQL["take_ticket"], ticket_hash)
        return None if row is None else _token(row)

    async def _flush(self) -> None:
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._database.execute(SQL["touch"], list(used), list(used.values()))
        except DatabaseOperationError as error:
            self._used = used | self._used
            logger.debug("could not note when tokens were used", extra={"error": error.message})


def _token(row: Any) -> ApiToken:
    return ApiToken(**{**dict(row), "role": Role(row["role"])})
