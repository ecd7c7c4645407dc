"""Alembic's entry: one asyncpg connection, one advisory lock, one transaction per revision."""

import asyncio

import asyncpg
from alembic import context
from sqlalchemy import Connection, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

# Any number that nothing else uses: two servers starting at once take turns.
ADVISORY_LOCK = 0x1F7A_5741_C702
TURN_TIMEOUT = "120s"  # for the other server to finish
LOCK_TIMEOUT = "5s"  # for a table: give up rather than queue every reader behind us
CONNECT_TIMEOUT_S = 10.0


def _dsn() -> str:
    dsn = context.config.attributes.get("dsn") or context.get_x_argument(as_dictionary=True).get("dsn")
    if not dsn:
        raise SystemExit("No database: pass -x dsn=postgresql://…")
    return str(dsn)


def _migrate(connection: Connection) -> None:
    connection.execute(text(f"SET lock_timeout = '{TURN_TIMEOUT}'"))
    connection.execute(text(f"SELECT pg_advisory_lock({ADVISORY_LOCK})"))
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.commit()  # the lock is the session's; each revision opens a transaction of its own
    context.configure(connection=connection, target_metadata=None, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def _run() -> None:
    dsn = _dsn()
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT_S),
        poolclass=pool.NullPool,
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_migrate)
            await connection.commit()
    finally:
        await engine.dispose()


asyncio.run(_run())
