"""The spools of this process and of those whose heir it is, worked on by one thread."""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from infrastructor.errors import AuditUnavailable
from infrastructor.storage.bounded import bounded
from infrastructor.storage.spool import Spool
from infrastructor.storage.writers import SpoolDirectory

logger = logging.getLogger(__name__)

T = TypeVar("T")

DISK_TIMEOUT_S = 5.0
BATCH = 200

Replay = Callable[[Sequence[str]], Awaitable[list[tuple[str, str]]]]


class Spooler:
    """Appends to one file, replays many. After any error of the disk a file is only read, never written again."""

    def __init__(self, directory: SpoolDirectory, *, max_bytes: int) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._current: Spool | None = None
        self._files = 0
        self._spools: list[Spool] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audit-spool")
        self.waiting = 0  # records not yet in PostgreSQL

    async def append(self, lines: Sequence[str]) -> None:
        """Return once the lines are on the disk. Raises `AuditUnavailable`."""
        try:
            await bounded(self._in_thread(self._append, list(lines)), DISK_TIMEOUT_S)
        except (sqlite3.Error, OSError, TimeoutError) as error:
            raise AuditUnavailable(f"The audit spool {self._directory.path} cannot be written: {error}") from error
        self.waiting += len(lines)

    async def adopt(self, writer: UUID) -> None:
        """Take over what a dead writer left, to replay it with our own."""
        for path in self._directory.spools_of(writer):
            if any(path == spool.path for spool in self._spools):
                continue  # PostgreSQL went away again while we replayed it
            try:
                spool = await self._in_thread(lambda path=path: Spool(path, max_bytes=self._max_bytes))
                self.waiting += await self._in_thread(spool.count)
            except (sqlite3.Error, OSError) as error:
                aside = path.with_suffix(".damaged")
                path.rename(aside)
                logger.exception("set a damaged audit spool aside", extra={"path": str(aside), "error": str(error)})
                continue
            self._spools.insert(0, spool)

    async def replay(self, write: Replay) -> int:
        """Move everything that waits to PostgreSQL; returns how many records. Raises `DatabaseOperationError`."""
        moved = 0
        for spool in list(self._spools):
            while rows := await self._in_thread(spool.first, BATCH):
                for line, reason in await write(_latest([line for _, line in rows])):
                    logger.error("PostgreSQL refused an audit record", extra={"reason": reason})
                    await self._in_thread(spool.reject, line, reason)
                await self._in_thread(spool.remove, rows[-1][0])
                moved += len(rows)
                self.waiting = max(0, self.waiting - len(rows))
            if spool is not self._current:
                self._spools.remove(spool)
                await self._in_thread(spool.close)
        return moved

    async def close(self) -> None:
        for spool in self._spools:
            await self._in_thread(spool.close)
        self._thread.shutdown(wait=False)

    def _append(self, lines: Sequence[str]) -> None:
        if self._current is None:
            self._current = Spool(self._next_file(), max_bytes=self._max_bytes)
            self._spools.append(self._current)
        try:
            self._current.append(lines)
        except BaseException:
            self._current = None
            raise

    def _next_file(self) -> Path:
        self._files += 1
        return self._directory.spool_file(self._files)

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)


def _latest(lines: Sequence[str]) -> list[str]:
    """One line a record: its first outcome, or its intent; one statement may not touch a row twice."""
    kept: dict[str, tuple[bool, str]] = {}
    for line in lines:
        record = json.loads(line)
        final, known = record["outcome"] != "started", kept.get(record["operation_id"])
        if known is None or (final and not known[0]):
            kept[record["operation_id"]] = (final, line)
    return [line for _, line in kept.values()]
