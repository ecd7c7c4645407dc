"""Which PostgreSQL and Redis this process uses: those of the settings, or embedded ones it starts or joins.

Every process that uses the embedded stores holds a shared lock on `users.lock`; the last one to leave stops them.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from infrastructor.embedded import EmbeddedStores, Stores
from infrastructor.settings import Settings


@asynccontextmanager
async def attached_stores(settings: Settings) -> AsyncIterator[Stores]:
    """The stores while they are in use. Raises `DatabaseOperationError` when they cannot be started."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database_url, redis_url = settings.database_url, settings.redis_url
    if database_url is not None and redis_url is not None:
        yield Stores(database_url=database_url.get_secret_value(), redis_url=redis_url.get_secret_value())
        return
    embedded = EmbeddedStores(settings.data_dir, postgres=database_url is None, valkey=redis_url is None)
    lock = await asyncio.to_thread(_join, settings.data_dir / "users.lock")
    try:
        stores = await embedded.start()
        yield Stores(
            database_url=database_url.get_secret_value() if database_url else stores.database_url,
            redis_url=redis_url.get_secret_value() if redis_url else stores.redis_url,
            started=stores.started,
        )
    finally:
        if _is_last(lock):
            await embedded.stop()
        os.close(lock)


def _join(path: Path) -> int:
    """Hold the shared lock; waits while the last user before us is stopping the stores."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def _is_last(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
