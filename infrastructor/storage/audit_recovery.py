"""Bringing the audit log back: probe PostgreSQL, replay spools, close the records of the dead."""

import asyncio
import contextlib
import logging
import sqlite3
from uuid import UUID

from infrastructor.errors import DatabaseOperationError
from infrastructor.storage.audit_table import AuditTable
from infrastructor.storage.bounded import bounded
from infrastructor.storage.spooler import Spooler
from infrastructor.storage.writers import SpoolDirectory

logger = logging.getLogger(__name__)

FIRST_PROBE_S = 0.1
PROBE_S = 1.0
ROUND_S = 20.0  # heartbeat, and how soon the records of a process killed beside us become `unknown`
START_WAIT_S = 2.0
CLOSE_TIMEOUT_S = 3.0


class Recovery:
    """`available` says whether PostgreSQL takes records; a task of its own makes it true again."""

    def __init__(self, table: AuditTable, directory: SpoolDirectory, spooler: Spooler) -> None:
        self._table = table
        self._directory = directory
        self._spooler = spooler
        self._kick = asyncio.Event()
        self._round_done = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.available = False
        self.reason: str | None = None

    async def start(self) -> None:
        """Register, then look for the dead; a long replay goes on behind. Raises `DatabaseOperationError`."""
        await self._table.probe()
        await self._table.seen(self._directory.writer_id, self._directory.id)
        self.available = True
        self._task = asyncio.create_task(self._run(), name="audit-recovery")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_WAIT_S):
                await self._round_done.wait()

    def lost(self, error: DatabaseOperationError) -> None:
        """PostgreSQL did not take a batch: nobody waits for it again until a probe says that it is back."""
        if self.available:
            logger.warning("lost PostgreSQL, audit records go to the spool", extra={"error": error.message})
        self.available = False
        self.reason = error.message
        self._kick.set()

    async def close(self) -> None:
        """Leave nothing open: replay once more, close our own records, sign off."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.available:
            with contextlib.suppress(DatabaseOperationError, TimeoutError):
                await bounded(self._sign_off(), CLOSE_TIMEOUT_S)

    async def _sign_off(self) -> None:
        await self._spooler.replay(self._table.replay)
        await self._table.abandon([self._directory.writer_id])

    async def _run(self) -> None:
        pause = 0.0
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._kick.wait()
                    await asyncio.sleep(FIRST_PROBE_S)
            self._kick.clear()
            try:
                await self._round()
                pause = ROUND_S
            except DatabaseOperationError as error:
                self.reason = error.message
                pause = PROBE_S
            except (sqlite3.Error, OSError) as error:
                logger.exception("could not read an audit spool", extra={"error": str(error)})
                pause = ROUND_S
            finally:
                self._round_done.set()

    async def _round(self) -> None:
        if not self.available:
            await self._table.probe()
            self.available = True
            self.reason = None
            logger.info("PostgreSQL is back", extra={"spooled": self._spooler.waiting})
        await self._table.seen(self._directory.writer_id, self._directory.id)
        # Asked before looking at the locks: whoever is registered by now had its lock before.
        registered = await self._table.neighbours(self._directory.writer_id, self._directory.id)
        dead, alive = self._roll_call()
        for writer in dead:
            await self._spooler.adopt(writer)
        if moved := await self._spooler.replay(self._table.replay):
            logger.info("replayed the audit spool", extra={"records": moved})
        gone = (dead | registered | await self._table.silent(self._directory.id)) - alive
        if gone and (left_open := await self._table.abandon(gone)):
            logger.warning("records of dead processes are in doubt", extra={"records": left_open})
        for writer in dead:
            self._directory.release(writer)

    def _roll_call(self) -> tuple[set[UUID], set[UUID]]:
        """The writers whose lock we could take, and those who live, ourselves among them."""
        others = set(self._directory.writers())
        dead = {writer for writer in others if self._directory.claim(writer)}
        return dead, (others - dead) | {self._directory.writer_id}
