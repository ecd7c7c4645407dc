"""The connection to PostgreSQL: every wait bounded, every driver error one of ours."""

import json
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import asyncpg

from infrastructor.errors import DatabaseOperationError
from infrastructor.storage.bounded import bounded
from infrastructor.storage.text import dump

T = TypeVar("T")

# What asyncpg raises when the server is away, slow or says no. InternalClientError is what a statement gets between
# the server's farewell on an idle connection and the end of the socket.
DRIVER_ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)

_GRACE_S = 0.5  # asyncpg's own timeouts fire first and say more


class Database:
    """A pool of connections. `await Database.connect(dsn)`, then one statement a call."""

    def __init__(
        self, dsn: str, pool: Any, *, connect_timeout: float, acquire_timeout: float, command_timeout: float
    ) -> None:
        self.dsn = dsn
        self._pool = pool
        self._connect_timeout = connect_timeout
        self._acquire_timeout = acquire_timeout
        self._command_timeout = command_timeout

    @classmethod
    async def connect(
        cls,
        dsn: str,
        *,
        max_size: int = 10,
        connect_timeout: float = 3.0,
        acquire_timeout: float = 2.0,
        command_timeout: float = 5.0,
    ) -> "Database":
        """Open the pool. Raises `DatabaseOperationError` when PostgreSQL cannot be reached."""
        try:
            pool = asyncpg.create_pool(
                dsn,
                min_size=0,  # with a floor, asyncpg logs a traceback for each try to restore it
                max_size=max_size,
                timeout=connect_timeout,
                command_timeout=None,  # ours cuts the socket, asyncpg's asks the server to cancel
                init=_init,
                reset=_keep_session,
            )
            await bounded(_opened(pool), connect_timeout + _GRACE_S, on_timeout=pool.terminate)
        except (*DRIVER_ERRORS, ValueError) as error:
            raise translated(error) from error
        return cls(
            dsn,
            pool,
            connect_timeout=connect_timeout,
            acquire_timeout=acquire_timeout,
            command_timeout=command_timeout,
        )

    async def fetch(self, query: str, *args: Any, timeout: float | None = None) -> "list[Any]":
        """All rows. `timeout` in seconds counts from the statement, not from waiting for a connection."""
        return await self._run(lambda c: c.fetch(query, *args), timeout)

    async def fetchrow(self, query: str, *args: Any, timeout: float | None = None) -> Any | None:
        return await self._run(lambda c: c.fetchrow(query, *args), timeout)

    async def fetchval(self, query: str, *args: Any, timeout: float | None = None) -> Any:
        return await self._run(lambda c: c.fetchval(query, *args), timeout)

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        """Run a statement and return its command tag, e.g. `DELETE 1`."""
        status: str = await self._run(lambda c: c.execute(query, *args), timeout)
        return status

    async def fetch_within(self, seconds: float, query: str, *args: Any, by_index: bool = False) -> "list[Any]":
        """All rows, for a query of which nobody knows how long it takes: PostgreSQL itself ends it (57014).

        `by_index` is for tables of long values, which the planner thinks are short to read.
        """

        async def work(connection: Any) -> Any:
            async with connection.transaction(readonly=True):
                await connection.execute(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}")
                if by_index:
                    await connection.execute("SET LOCAL enable_seqscan = off")
                return await connection.fetch(query, *args)

        return await self._run(work, seconds + self._command_timeout)

    async def copy(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, timeout: float | None = None
    ) -> None:
        """Bulk load rows by COPY."""
        await self._run(lambda c: c.copy_records_to_table(table, columns=columns, records=rows), timeout)

    async def dedicated(self) -> Any:
        """A connection of the caller's own outside the pool, for LISTEN and for the audit writer."""
        try:
            connection = await bounded(
                asyncpg.connect(self.dsn, timeout=self._connect_timeout, command_timeout=self._command_timeout),
                self._connect_timeout + _GRACE_S,
            )
            await bounded(_init(connection), self._command_timeout, on_timeout=connection.terminate)
        except (*DRIVER_ERRORS, ValueError) as error:
            raise translated(error) from error
        return connection

    def statistics(self) -> dict[str, int]:
        return {
            "connections": self._pool.get_size(),
            "idle": self._pool.get_idle_size(),
            "maximum": self._pool.get_max_size(),
        }

    async def close(self) -> None:
        """Wait shortly for what is running, then cut."""
        try:
            await bounded(self._pool.close(), 2.0, on_timeout=self._pool.terminate)
        except DRIVER_ERRORS:
            self._pool.terminate()

    async def _run(self, work: Callable[[Any], Coroutine[Any, Any, T]], timeout: float | None) -> T:
        limit = self._command_timeout if timeout is None else timeout
        try:
            async with self._pool.acquire(timeout=self._acquire_timeout) as connection:
                # A frozen server answers no cancel request; without the socket nothing waits for one.
                return await bounded(work(connection), limit, on_timeout=connection.terminate)
        except DRIVER_ERRORS as error:
            raise translated(error) from error


def translated(error: BaseException) -> DatabaseOperationError:
    """Our error for a driver's; `details` keep its SQLSTATE when it has one."""
    kind = type(error).__name__
    sqlstate = getattr(error, "sqlstate", None)
    text = str(error) or "no answer in time"
    return DatabaseOperationError(f"PostgreSQL: {text} ({kind})", error=kind, sqlstate=sqlstate)


def sqlstate_of(error: DatabaseOperationError) -> str | None:
    state = error.details.get("sqlstate")
    return state if isinstance(state, str) else None


async def _opened(pool: Any) -> None:
    await pool
    await pool.fetchval("SELECT 1")


async def _init(connection: Any) -> None:
    # Binary, because COPY takes nothing else.
    codecs = {"json": (_to_json, json.loads), "jsonb": (_to_jsonb, _from_jsonb)}
    for name, (encoder, decoder) in codecs.items():
        await connection.set_type_codec(name, encoder=encoder, decoder=decoder, schema="pg_catalog", format="binary")


async def _keep_session(_connection: Any) -> None:
    """Nothing of ours changes the session, so releasing needs no round trip to reset it."""


def _to_json(value: Any) -> bytes:
    return dump(value).encode()


def _to_jsonb(value: Any) -> bytes:
    return b"\x01" + _to_json(value)  # the version of the format


def _from_jsonb(data: bytes) -> Any:
    return json.loads(data[1:])
