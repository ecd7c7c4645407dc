"""Bring a database to the schema this version needs. `infrastructor migrate` and every start run this."""

import asyncio
import threading
from importlib.resources import files
from typing import Any

import asyncpg

import migrations
from infrastructor.errors import DatabaseOperationError
from infrastructor.storage.bounded import bounded
from infrastructor.storage.pool import DRIVER_ERRORS, translated

_CONNECT_TIMEOUT_S = 5.0
_one_at_a_time = threading.Lock()  # Alembic's `context` is one per process; other processes wait in migrations/env.py


async def upgrade(dsn: str, revision: str = "head") -> bool:
    """Apply what is missing up to `revision`; True when something was applied. Safe from many servers at once.

    Raises `DatabaseOperationError`. A database newer than this program is left alone and works: schema changes
    keep old code running until the release after.
    """
    before = await current(dsn)
    if revision == "head" and before is not None and before >= migrations.HEAD:
        return False  # the common start: one query, no import of Alembic
    await _alembic("upgrade", dsn, revision)
    return await current(dsn) != before


async def downgrade(dsn: str, revision: str) -> None:
    """Go back to `revision` (`base` for none at all, `-1` for one step). Loses what only newer tables hold."""
    await _alembic("downgrade", dsn, revision)


async def current(dsn: str) -> str | None:
    """The revision the database has; None when it is empty. Raises `DatabaseOperationError`."""
    try:
        connection = await bounded(asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_S), _CONNECT_TIMEOUT_S + 1)
        try:
            revision: str | None = await bounded(
                connection.fetchval("SELECT version_num FROM alembic_version"), _CONNECT_TIMEOUT_S
            )
        finally:
            connection.terminate()
    except asyncpg.UndefinedTableError:
        return None
    except (*DRIVER_ERRORS, ValueError) as error:
        raise translated(error) from error
    return revision


def history() -> list[tuple[str, str]]:
    """Every revision with its summary, oldest first."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 (half a second of import, seldom needed)

    revisions = ScriptDirectory.from_config(_config()).walk_revisions()
    return [(script.revision, (script.doc or "").splitlines()[0]) for script in revisions][::-1]


def _config(**attributes: str) -> Any:
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes=attributes)
    # '%' would be interpolated by the configuration parser.
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    return config


async def _alembic(verb: str, dsn: str, revision: str) -> None:
    def run() -> None:
        with _one_at_a_time:
            from alembic import command  # noqa: PLC0415

            getattr(command, verb)(_config(dsn=dsn), revision)

    try:
        # In a thread: Alembic is synchronous and migrations/env.py runs a loop of its own.
        await asyncio.to_thread(run)
    except Exception as error:
        cause = getattr(error, "orig", None) or error
        raise DatabaseOperationError(
            f"Migration to {revision} failed: {cause}",
            hint="Nothing of the failed revision was applied. Fix the cause and start again.",
        ) from error
