"""`ContainerStore`: states when they change, samples in bulk."""

import logging
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from infrastructor.container_store import REMOVED, ContainerSample, ContainerState, SampleBucket, StateChange
from infrastructor.errors import DatabaseOperationError
from infrastructor.ids import uuid7
from infrastructor.storage import sql
from infrastructor.storage.flushing import Flushing
from infrastructor.storage.pool import Database, sqlstate_of

logger = logging.getLogger(__name__)

SQL = sql.load("containers")
COLUMNS = (
    "ts", "container", "cpu_percent", "memory_bytes", "rx_bytes", "tx_bytes", "read_bytes", "written_bytes", "pids",
)  # fmt: skip
COUNTERS = ("rx_bytes", "tx_bytes", "read_bytes", "written_bytes")
FLUSH_S = 1.0
BATCH = 5000
MAX_QUEUED = 60_000  # two hours of 500 containers
HOUR = timedelta(hours=1)
FOREIGN_KEY_VIOLATION = "23503"
_BIG, _INT = 2**62, 2**31 - 1
_FIELDS = frozenset(field.name for field in fields(ContainerState))

Row = tuple[UUID, datetime, ContainerSample]


class PostgresContainerStore:
    """Over `containers`, `container_snapshots`, `container_samples` and `container_samples_hourly`."""

    def __init__(self, database: Database, *, flush_interval_s: float = FLUSH_S) -> None:
        self._database = database
        self._queue: deque[Row] = deque()
        self._numbers: dict[tuple[UUID, str], int] = {}
        self._counters: dict[tuple[UUID, str], ContainerSample] = {}  # the sample before
        self._flushing = Flushing(self._flush, flush_interval_s, name="container-samples")
        self._counts = {"written": 0, "dropped": 0}

    async def start(self) -> None:
        self._flushing.start()

    async def close(self) -> None:
        await self._flushing.close()

    def statistics(self) -> Mapping[str, Any]:
        return {"queued": len(self._queue), **self._counts}

    # --- states --------------------------------------------------------------------------------------

    async def add_states(self, device_id: UUID, at: datetime, states: Sequence[ContainerState]) -> Sequence[str]:
        known = {state.name: state for state in await self.states(device_id)}
        named = {state.name: state for state in states}
        changed = [state for state in named.values() if known.get(state.name) != state]
        gone = [
            ContainerState(name=name, container_id=state.container_id, state=REMOVED, image=state.image)
            for name, state in known.items()
            if name not in named
        ]
        for one in gone:
            self._counters.pop((device_id, one.name), None)
        if changed or gone:
            await self._keep(device_id, at, [*changed, *gone])
        return [state.name for state in (*changed, *gone)]

    async def states(self, device_id: UUID) -> Sequence[ContainerState]:
        rows = await self._database.fetch(SQL["states"], device_id)
        return [_state(row["state"]) for row in rows]

    async def changes(
        self, device_id: UUID, name: str, since: datetime, until: datetime, limit: int
    ) -> Sequence[StateChange]:
        number = await self._database.fetchval(SQL["number"], device_id, name)
        if number is None:
            return []
        rows = await self._database.fetch(SQL["changes"], number, since, until, limit)
        before = await self._database.fetchrow(SQL["before"], number, rows[-1]["at"] if rows else since)
        found = [*rows, before] if before is not None else rows
        return [StateChange(at=row["at"], state=_state(row["state"])) for row in reversed(found)]

    async def _keep(self, device_id: UUID, at: datetime, states: Sequence[ContainerState]) -> None:
        items = [
            {
                "id": str(uuid7()),
                "name": state.name,
                "state": state.state,
                "health": state.health,
                "restart_count": _whole(state.restart_count, _INT),
                "exit_code": _whole(state.exit_code, _INT),
                "oom_killed": state.oom_killed,
                "data": {key: value for key, value in asdict(state).items() if value is not None},
            }
            for state in states
        ]
        try:
            await self._database.execute(SQL["keep"], device_id, at, items)
        except DatabaseOperationError as error:
            if sqlstate_of(error) != FOREIGN_KEY_VIOLATION:  # the device was removed meanwhile
                raise

    # --- samples -------------------------------------------------------------------------------------

    def add_samples(self, device_id: UUID, at: datetime, samples: Sequence[ContainerSample]) -> None:
        for sample in samples:
            before = self._counters.get((device_id, sample.name))
            self._counters[device_id, sample.name] = sample
            self._queue.append((device_id, at, _gained(before, sample)))
        self._drop_oldest()

    async def series(
        self, device_id: UUID, name: str, since: datetime, until: datetime, step: timedelta
    ) -> Sequence[SampleBucket]:
        number = await self._database.fetchval(SQL["number"], device_id, name)
        if number is None:
            return []
        first = await self._database.fetchval(SQL["first"], number, since, until)
        begin = until if first is None else since + (first - since) // step * step
        rows = await self._database.fetch(SQL["hours"], number, since, begin, max(step, HOUR))
        if first is not None:
            rows += await self._database.fetch(SQL["series"], number, begin, until, step)
        return [SampleBucket(**dict(row)) for row in rows]

    async def flush(self) -> None:
        """Write what is queued, what is on its way included; what PostgreSQL does not take stays queued."""
        await self._flushing.now()

    async def _flush(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            try:
                await self._write(batch)
            except DatabaseOperationError as error:
                if (sqlstate_of(error) or "").startswith("22"):
                    self._counts["dropped"] += len(batch)  # a value no column takes would block the queue for ever
                    logger.exception("dropped container samples", extra={"error": error.message})
                    continue
                self._queue.extendleft(reversed(batch))
                self._drop_oldest()
                return

    async def _write(self, batch: Sequence[Row]) -> None:
        await self._learn({(device_id, sample.name) for device_id, _, sample in batch} - self._numbers.keys())
        rows = [
            _values(at, self._numbers[device_id, sample.name], sample)
            for device_id, at, sample in batch
            if (device_id, sample.name) in self._numbers
        ]
        await self._database.copy("container_samples", COLUMNS, rows)
        self._counts["written"] += len(rows)
        self._counts["dropped"] += len(batch) - len(rows)  # of devices that were removed

    async def _learn(self, unknown: set[tuple[UUID, str]]) -> None:
        if not unknown:
            return
        devices, names = zip(*sorted(unknown), strict=True)
        await self._database.execute(SQL["introduce"], list(devices), list(names))
        for row in await self._database.fetch(SQL["known"], list(set(devices))):
            self._numbers[row["device_id"], row["name"]] = row["id"]

    def _drop_oldest(self) -> None:
        while len(self._queue) > MAX_QUEUED:
            self._queue.popleft()
            self._counts["dropped"] += 1


def _gained(before: ContainerSample | None, now: ContainerSample) -> ContainerSample:
    """The sample with what its counters gained; all of it where they began again, unknown where none was before."""
    gained: dict[str, int | None] = {}
    for name in COUNTERS:
        value, earlier = getattr(now, name), None if before is None else getattr(before, name)
        if before is None or value is None:
            gained[name] = None
        else:
            gained[name] = value - earlier if earlier is not None and value >= earlier else value
    return replace(now, **gained)  # type: ignore[arg-type]


def _values(at: datetime, number: int, sample: ContainerSample) -> tuple[Any, ...]:
    cpu = sample.cpu_percent
    return (
        at,
        number,
        cpu if cpu is not None and math.isfinite(cpu) and abs(cpu) < _INT else None,
        _whole(sample.memory_bytes),
        _whole(sample.rx_bytes),
        _whole(sample.tx_bytes),
        _whole(sample.read_bytes),
        _whole(sample.written_bytes),
        _whole(sample.pids, _INT),
    )


def _whole(value: int | None, limit: int = _BIG) -> int | None:
    return None if value is None else max(-limit, min(limit, value))


def _state(data: Mapping[str, Any]) -> ContainerState:
    """As it was kept, by this version or a later one with further fields."""
    values = {key: value for key, value in data.items() if key in _FIELDS}
    return ContainerState(**{**values, "ports": tuple(values.get("ports", ()))})
