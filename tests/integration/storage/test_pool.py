"""Every wait for PostgreSQL ends."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable

import pytest

from infrastructor.errors import DatabaseOperationError
from infrastructor.storage.bounded import bounded
from infrastructor.storage.pool import Database, sqlstate_of
from tests.support.postgres import TestPostgres, eventually


async def fails_within(seconds: float, call: Awaitable[object]) -> DatabaseOperationError:
    started = time.perf_counter()
    with pytest.raises(DatabaseOperationError) as caught:
        await call
    assert time.perf_counter() - started < seconds
    return caught.value


async def test_a_frozen_postgres_fails_each_call_in_time_and_recovers(
    broken_dsn: str, own_postgres: TestPostgres
) -> None:
    database = await Database.connect(broken_dsn, command_timeout=0.3, acquire_timeout=0.3, connect_timeout=0.3)
    with own_postgres.frozen():
        await asyncio.gather(*(fails_within(3, database.fetchval("SELECT 1")) for _ in range(30)))
        await fails_within(3, database.dedicated())
        await fails_within(3, Database.connect(broken_dsn, connect_timeout=0.3))

    async def answers() -> bool:
        try:
            return bool(await database.fetchval("SELECT 1"))
        except DatabaseOperationError:
            return False

    await eventually(answers)
    assert database.statistics()["connections"] <= 10
    await database.close()


async def test_a_cancelled_caller_frees_its_connection_at_once(storage: Database) -> None:
    for _ in range(15):
        task = asyncio.create_task(storage.fetchval("SELECT pg_sleep(20)"))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert await storage.fetchval("SELECT 1") == 1


async def test_a_slow_statement_is_given_up(storage: Database) -> None:
    await fails_within(3, storage.fetch("SELECT pg_sleep(20)", timeout=0.1))
    assert await storage.fetchval("SELECT 1") == 1


async def test_an_exhausted_pool_is_an_error_not_a_queue_without_end(dsn: str) -> None:
    database = await Database.connect(dsn, max_size=2, acquire_timeout=0.2)
    busy = [asyncio.create_task(database.fetchval("SELECT pg_sleep(2)")) for _ in range(2)]
    await asyncio.sleep(0.1)
    await fails_within(2, database.fetchval("SELECT 1"))
    await asyncio.gather(*busy)
    await database.close()


async def test_a_restarted_postgres_is_found_again(broken_dsn: str, own_postgres: TestPostgres) -> None:
    database = await Database.connect(broken_dsn)
    await asyncio.to_thread(own_postgres.crash)
    await fails_within(3, database.fetchval("SELECT 1"))
    await asyncio.to_thread(own_postgres.start)
    assert await database.fetchval("SELECT 1") == 1
    await database.close()


async def test_errors_keep_their_sqlstate_and_say_what_failed(storage: Database) -> None:
    error = await fails_within(3, storage.execute("SELECT 1/0"))
    assert sqlstate_of(error) == "22012"
    assert "division by zero" in error.message


@pytest.mark.parametrize("dsn", ["postgresql://x@127.0.0.1:1/y", "postgresql://x@/y?host=/nonexistent", "nonsense://"])
async def test_no_server_is_one_clear_error(dsn: str) -> None:
    error = await fails_within(10, Database.connect(dsn))
    assert error.message.startswith("PostgreSQL: ")


async def test_json_goes_in_and_out_whatever_it_holds(storage: Database) -> None:
    value = {"a": [1, 2.5, None, True], "ü": "😀"}
    assert await storage.fetchval("SELECT $1::jsonb", value) == value
    assert await storage.fetchval("SELECT $1::json", value) == value
    assert await storage.fetchval("SELECT $1::jsonb", {"x": "a\0\ud800"}) == {"x": "a��"}


async def test_bounded_leaves_behind_what_ignores_its_cancellation() -> None:
    may_end, ended = asyncio.Event(), asyncio.Event()

    async def stubborn() -> None:
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await may_end.wait()
        ended.set()

    with pytest.raises(TimeoutError):
        await bounded(stubborn(), 0.01)
    assert not ended.is_set()
    may_end.set()
    await asyncio.wait_for(ended.wait(), 5)
