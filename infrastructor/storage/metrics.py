"""Samples of `system_metrics`, written in bulk."""

import logging
import math
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from infrastructor.errors import DatabaseOperationError
from infrastructor.ids import uuid7
from infrastructor.ports.series import MetricSample
from infrastructor.storage import sql
from infrastructor.storage.flushing import Flushing
from infrastructor.storage.pool import Database, sqlstate_of

logger = logging.getLogger(__name__)

SQL = sql.load("metrics")
COLUMNS = (
    "id",
    "device_id",
    "timestamp",
    "cpu_usage_percent",
    "memory_usage_percent",
    "disk_usage_percent",
    "load_average_1m",
    "uptime_seconds",
    "metadata",
)
FOREIGN_KEY_VIOLATION = "23503"
FLUSH_S = 1.0
BATCH = 2000
MAX_QUEUED = 50_000
_PERCENT = Decimal("999.99")  # what DECIMAL(5,2) holds
_LOAD = Decimal("9999.99")
_CENT = Decimal("0.01")


class PostgresMetricStore:
    """`MetricStore` over `system_metrics`: a queue in memory, one COPY a second."""

    def __init__(self, database: Database, *, flush_interval_s: float = FLUSH_S) -> None:
        self._database = database
        self._queue: deque[tuple[Any, ...]] = deque(maxlen=MAX_QUEUED)
        self._flushing = Flushing(self._flush, flush_interval_s, name="metrics-writer")
        self._counts = {"written": 0, "dropped": 0}

    async def start(self) -> None:
        self._flushing.start()

    async def close(self) -> None:
        await self._flushing.close()

    async def add(self, sample: MetricSample) -> None:
        if len(self._queue) == MAX_QUEUED:
            self._counts["dropped"] += 1  # the oldest one goes
        self._queue.append(_row(sample))

    async def history(self, device_id: UUID, since: datetime, limit: int = 1000) -> Sequence[MetricSample]:
        rows = await self._database.fetch(SQL["history"], device_id, since, limit)
        return [_sample(row) for row in rows]

    def statistics(self) -> Mapping[str, int]:
        return {"queued": len(self._queue), **self._counts}

    async def flush(self) -> None:
        """Write what is queued, what is on its way included; what PostgreSQL does not take stays queued."""
        await self._flushing.now()

    async def _flush(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            try:
                self._counts["written"] += await self._write(batch)
            except DatabaseOperationError as error:
                if (sqlstate_of(error) or "").startswith("22"):
                    self._counts["dropped"] += len(batch)  # a value no column takes would block the queue for ever
                    logger.exception("dropped metric samples", extra={"error": error.message, "samples": len(batch)})
                    continue
                self._counts["dropped"] += max(0, len(self._queue) + len(batch) - MAX_QUEUED)
                newer = list(self._queue)
                self._queue.clear()
                self._queue.extend((*batch, *newer))
                return

    async def _write(self, batch: list[tuple[Any, ...]]) -> int:
        try:
            await self._database.copy("system_metrics", COLUMNS, batch)
        except DatabaseOperationError as error:
            if sqlstate_of(error) != FOREIGN_KEY_VIOLATION:
                raise
            # A device was removed while its last samples were queued.
            rows = await self._database.fetch(SQL["registered"], list({row[1] for row in batch}))
            devices = {row["id"] for row in rows}
            batch = [row for row in batch if row[1] in devices]
            await self._database.copy("system_metrics", COLUMNS, batch)
        return len(batch)


def _row(sample: MetricSample) -> tuple[Any, ...]:
    return (
        uuid7(),
        sample.device_id,
        sample.timestamp,
        _decimal(sample.cpu_usage_percent, _PERCENT),
        _decimal(sample.memory_usage_percent, _PERCENT),
        _decimal(sample.disk_usage_percent, _PERCENT),
        _decimal(sample.load_average_1m, _LOAD),
        sample.uptime_seconds,
        dict(sample.metadata),
    )


def _decimal(value: float | None, limit: Decimal) -> Decimal | None:
    if value is None or not math.isfinite(value):
        return None
    return max(-limit, min(limit, Decimal(value))).quantize(_CENT)


def _sample(row: Any) -> MetricSample:
    fields: dict[str, Any] = {
        name: float(value) if isinstance(value, Decimal) else value for name, value in row.items()
    }
    return MetricSample(**fields)
