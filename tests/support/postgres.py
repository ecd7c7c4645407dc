"""A real PostgreSQL from the wheel, with databases made from a migrated template in milliseconds."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import asyncpg

from infrastructor.embedded.account import Account
from infrastructor.embedded.postgres import EmbeddedPostgres
from infrastructor.embedded.process import locked
from infrastructor.embedded.sockets import socket_directory
from infrastructor.ids import uuid7
from infrastructor.storage import migrate


class TestPostgres:
    """One server of a test session. Tests that break it take one of their own."""

    __test__ = False

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        account = Account.for_stores(data_dir)
        self.sockets = socket_directory(data_dir, account)
        self._server = EmbeddedPostgres(data_dir, self.sockets, account)

    def start(self) -> None:
        with locked(self.data_dir / "embedded.lock"):
            self._server.start()

    def stop(self) -> None:
        self.thaw()
        self._server.stop()

    def dsn(self, database: str = "infrastructor") -> str:
        return f"postgresql://infrastructor@/{database}?host={quote(str(self.sockets), safe='/')}"

    async def database(self, *, migrated: bool = True) -> str:
        """The DSN of a fresh database."""
        name = f"t_{uuid7().hex}"
        admin = await asyncpg.connect(host=str(self.sockets), user="postgres", database="postgres")
        try:
            if migrated and not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = 'template_migrated'"):
                await admin.execute("CREATE DATABASE template_migrated OWNER infrastructor")
                await migrate.upgrade(self.dsn("template_migrated"))
            template = "template_migrated" if migrated else "template1"
            await admin.execute(f"CREATE DATABASE {name} OWNER infrastructor TEMPLATE {template} STRATEGY file_copy")
        finally:
            await admin.close()
        return self.dsn(name)

    # --- faults ---

    def crash(self) -> None:
        """Immediate shutdown, as in a power loss: no checkpoint, recovery at the next start."""
        pid = self._server.pid()
        assert pid is not None
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGQUIT)
        _wait_gone(pid)

    def freeze(self) -> None:
        """SIGSTOP to the postmaster and every backend: connections stay, nothing answers."""
        for pid in self._family():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            for pid in self._family():
                os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def _family(self) -> list[int]:
        postmaster = self._server.pid()
        if postmaster is None:
            return []
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]


def _wait_gone(pid: int) -> None:
    import time

    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)


@contextlib.asynccontextmanager
async def connection(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(dsn, timeout=10)
    try:
        yield opened
    finally:
        await opened.close(timeout=5)


async def rows(dsn: str, query: str, *args: object) -> list[asyncpg.Record]:
    async with connection(dsn) as opened:
        return await opened.fetch(query, *args)


async def execute(dsn: str, query: str, *args: object) -> str:
    async with connection(dsn) as opened:
        return await opened.execute(query, *args)


async def eventually(true: object, *, within: float = 10.0) -> None:
    """Poll an async predicate until it holds."""
    deadline = asyncio.get_running_loop().time() + within
    while not await true():  # type: ignore[operator]
        assert asyncio.get_running_loop().time() < deadline, f"did not come true within {within:g} s"
        await asyncio.sleep(0.02)
