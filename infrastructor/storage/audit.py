"""The durable record of every operation: intent before effect, outcome before answer."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from infrastructor.errors import AuditUnavailable, DatabaseOperationError
from infrastructor.ports.audit import AuditRecord
from infrastructor.ports.callers import Effect
from infrastructor.storage.audit_recovery import Recovery
from infrastructor.storage.audit_table import AuditTable
from infrastructor.storage.audit_text import amend, decode, encode
from infrastructor.storage.pool import Database
from infrastructor.storage.spool import MAX_BYTES
from infrastructor.storage.spooler import Spooler
from infrastructor.storage.writers import SpoolDirectory

logger = logging.getLogger(__name__)

WRITE_TIMEOUT_S = 0.25
NOTE_DELAY_S = 0.5
BATCH = 500
MAX_NOTES = 20_000


@dataclass(slots=True, eq=False)
class _Entry:
    """One record on its way; `written` is None when nobody waits for it."""

    id: UUID
    line: str
    final: bool
    needs_postgres: bool
    written: "asyncio.Future[None] | None"


class PostgresAuditLog:
    """`AuditLog` over `data_collection_audit`, with a spool on disk for the time PostgreSQL is away.

    Group commit: whatever was asked for while one transaction ran goes into the next. When PostgreSQL fails, or
    answers later than `write_timeout_s`, reads go on through the spool, and intents of changes are refused with
    `AuditUnavailable`. The spool is replayed once PostgreSQL is back, each record exactly once.
    """

    def __init__(
        self,
        database: Database,
        *,
        spool_dir: Path,
        write_timeout_s: float = WRITE_TIMEOUT_S,
        max_spool_bytes: int = MAX_BYTES,
    ) -> None:
        self._table = AuditTable(database)
        self._spool_dir = spool_dir
        self._write_timeout_s = write_timeout_s
        self._max_spool_bytes = max_spool_bytes
        self._queue: list[_Entry] = []
        self._notes: list[_Entry] = []
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._failing = False
        self._counts = dict.fromkeys(("writes", "batches", "refused", "lost_notes"), 0)
        self._busy_s = 0.0

    async def start(self) -> None:
        """Register as a writer and take over what dead ones left. Raises `DatabaseOperationError`."""
        try:
            self._directory = await asyncio.to_thread(SpoolDirectory, self._spool_dir)
        except OSError as error:
            raise AuditUnavailable(f"The audit spool {self._spool_dir} cannot be used: {error}") from error
        self._spooler = Spooler(self._directory, max_bytes=self._max_spool_bytes)
        self._recovery = Recovery(self._table, self._directory, self._spooler)
        try:
            await self._recovery.start()
        except BaseException:
            self._directory.close()
            raise
        self._tasks = [asyncio.create_task(self._write_forever(), name="audit-writer")]

    async def close(self) -> None:
        """Write what is left, then say goodbye. What cannot be written now stays in the spool for the next start."""
        self._closing = True
        self._wake.set()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._recovery.close()
        await self._spooler.close()
        self._directory.close()
        self._table.disconnect()

    async def begin(self, record: AuditRecord) -> None:
        await self._submit(record, needs_postgres=record.effect is not Effect.READ)

    async def finish(self, record: AuditRecord) -> None:
        await self._submit(record, needs_postgres=False)

    def note(self, record: AuditRecord) -> None:
        if len(self._notes) >= MAX_NOTES:
            self._counts["lost_notes"] += 1  # neither PostgreSQL nor the disk has taken anything for long
            return
        if not self._notes:
            asyncio.get_running_loop().call_later(NOTE_DELAY_S, self._wake.set)
        self._notes.append(self._entry(record, needs_postgres=False, written=None))

    async def find(self, operation_id: UUID) -> AuditRecord | None:
        row = await self._table.find(operation_id)
        return None if row is None else decode(row)

    async def around(
        self, device_id: UUID, since: datetime, until: datetime, *, limit: int = 200, reads: bool = False
    ) -> Sequence[AuditRecord]:
        """Runs on a device in that time, newest first; see `ports.AuditTrail`."""
        return [decode(row) for row in await self._table.around(device_id, since, until, limit=limit, reads=reads)]

    def statistics(self) -> Mapping[str, Any]:
        """state: ok, spooling (PostgreSQL is away), failing (the spool as well)."""
        state = "ok" if self._recovery.available else "failing" if self._failing else "spooling"
        return {
            "state": state,
            "queued": len(self._queue) + len(self._notes),
            "spooled": self._spooler.waiting,
            **self._counts,
            "mean_ms": round(self._busy_s / self._counts["batches"] * 1000, 3) if self._counts["batches"] else None,
            "last_error": self._recovery.reason,
        }

    async def _submit(self, record: AuditRecord, *, needs_postgres: bool) -> None:
        if self._closing or not self._tasks:
            raise AuditUnavailable("The audit log is closed.")
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        written.add_done_callback(_retrieve)
        self._queue.append(self._entry(record, needs_postgres=needs_postgres, written=written))
        self._wake.set()
        # Shielded by being another's: a caller that goes away leaves its record behind, to be written.
        await asyncio.shield(written)

    def _entry(self, record: AuditRecord, *, needs_postgres: bool, written: "asyncio.Future[None] | None") -> _Entry:
        return _Entry(
            id=record.operation_id,
            line=encode(record, self._directory.writer_id),
            final=record.outcome != "started",
            needs_postgres=needs_postgres,
            written=written,
        )

    async def _write_forever(self) -> None:
        while not self._closing or self._queue or self._notes:
            if not self._closing:
                await self._wake.wait()
            self._wake.clear()
            while batch := self._next_batch():
                try:
                    await self._write(batch)
                except Exception as error:
                    # A bug of ours must refuse operations, not let them wait for ever.
                    logger.exception("could not write audit records")
                    _settle(batch, AuditUnavailable(f"The audit log failed: {error}"))

    def _next_batch(self) -> list[_Entry]:
        batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
        room = BATCH - len(batch)
        notes, self._notes = self._notes[:room], self._notes[room:]
        return batch + notes

    async def _write(self, batch: Sequence[_Entry]) -> None:
        started = time.perf_counter()
        if self._recovery.available:
            try:
                await self._table.write(_merged(batch), self._write_timeout_s)
            except DatabaseOperationError as error:
                self._recovery.lost(error)
            else:
                self._failing = False
                self._count(batch, started)
                _settle(batch)
                return
        await self._spool(batch)
        self._count(batch, started)

    async def _spool(self, batch: Sequence[_Entry]) -> None:
        reason = f"Changes need the audit store, and PostgreSQL is away: {self._recovery.reason}"
        refused = [entry for entry in batch if entry.needs_postgres]
        for entry in refused:
            # What was asked is a fact worth keeping; that it was not done is its outcome.
            entry.line = amend(entry.line, outcome="refused", error_code=AuditUnavailable.code, error_message=reason)
            entry.final = True
        self._counts["refused"] += len(refused)
        try:
            await self._spooler.append(_merged(batch))
        except AuditUnavailable as error:
            self._failing = True
            _settle(batch, error)
            self._keep_notes(batch)
            return
        self._failing = False
        _settle(refused, AuditUnavailable(reason))
        _settle(entry for entry in batch if not entry.needs_postgres)

    def _keep_notes(self, batch: Sequence[_Entry]) -> None:
        notes = [entry for entry in batch if entry.written is None]
        room = 0 if self._closing else max(0, MAX_NOTES - len(self._notes))
        self._counts["lost_notes"] += len(notes[room:])
        if notes[:room]:
            # Not now: the loop would spin on a broken disk.
            asyncio.get_running_loop().call_later(1.0, self._notes.extend, notes[:room])

    def _count(self, batch: Sequence[_Entry], started: float) -> None:
        self._counts["writes"] += len(batch)
        self._counts["batches"] += 1
        self._busy_s += time.perf_counter() - started


def _merged(batch: Iterable[_Entry]) -> list[str]:
    """One line a record: its first outcome, or its intent; one statement may not touch a row twice."""
    kept: dict[UUID, _Entry] = {}
    for entry in batch:
        if entry.id not in kept or (entry.final and not kept[entry.id].final):
            kept[entry.id] = entry
    return [entry.line for entry in kept.values()]


def _settle(entries: Iterable[_Entry], error: Exception | None = None) -> None:
    for entry in entries:
        if entry.written is None or entry.written.done():
            continue
        if error is None:
            entry.written.set_result(None)
        else:
            entry.written.set_exception(error)


def _retrieve(future: "asyncio.Future[None]") -> None:
    """A caller that was cancelled asks no more; its error is no accident."""
    if not future.cancelled():
        future.exception()
