"""One READ operation on many devices, under one audit record: what the scheduler collects with."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

from infrastructor.context import RunContext
from infrastructor.errors import CommandTimeout, InfrastructorError
from infrastructor.flight import Flights
from infrastructor.operation import Operation, Params, Result
from infrastructor.outcome import exit_body, milliseconds, new_record
from infrastructor.ports.audit import AuditRecord
from infrastructor.ports.cache import CacheEntry, CacheKey
from infrastructor.ports.callers import Caller
from infrastructor.ports.devices import Device
from infrastructor.sanitize import clean

if TYPE_CHECKING:
    from infrastructor.service import UnifiedDataCollectionService

logger = logging.getLogger(__name__)

Handle = Callable[[RunContext, Operation[Any, Any], Params], Awaitable[Result]]
Finish = Callable[[AuditRecord], Awaitable[None]]


class Sweeps:
    """Runs sweeps, and knows how the last one ended on each device.

    A device has a row of its own only when it fails for the first time or works again.
    """

    def __init__(
        self, service: "UnifiedDataCollectionService", *, flights: Flights, handle: Handle, finish: Finish
    ) -> None:
        self._service = service
        self._flights = flights
        self._handle = handle
        self._finish = finish
        self._last: dict[tuple[str, UUID], str] = {}

    async def run(self, operation: Operation[Any, Any], devices: Sequence[Device], caller: Caller) -> dict[str, str]:
        """Outcome code by hostname; "ok" where it worked."""
        record = new_record(operation, caller, None)
        record.details = {"sweep": [device.hostname for device in devices]}
        await self._service.audit.begin(record)
        started = perf_counter()
        outcomes = await asyncio.gather(*(self._run_one(operation, device, record) for device in devices))
        failed = {device.hostname: code for device, code in zip(devices, outcomes, strict=True) if code != "ok"}
        record.outcome = "ok"
        record.duration_ms = milliseconds(started)
        record.details = {"devices": len(devices), "failed": failed}
        await self._finish(record)
        return dict(zip((device.hostname for device in devices), outcomes, strict=True))

    async def _run_one(self, operation: Operation[Any, Any], device: Device, sweep: AuditRecord) -> str:
        params = operation.params.model_validate({"device": device.hostname, "force_refresh": True})
        record = new_record(operation, sweep.caller, sweep.operation_id, params)
        record.device, record.device_id = device.hostname, device.id
        context = RunContext(service=self._service, declared=operation, record=record, target=device)
        started, collected_at = perf_counter(), datetime.now(UTC)
        try:
            with self._flights.alone(device.id) as flight:
                async with asyncio.timeout(operation.deadline.total_seconds()):
                    result = await self._handle(context, operation, params)
        except (InfrastructorError, TimeoutError) as error:
            code = error.code if isinstance(error, InfrastructorError) else CommandTimeout.code
            record.outcome, record.error_code, record.error_message = "error", code, clean(str(error), 1000)
        except Exception as error:
            # A bug that one device brings out must not take the outcomes of all the others with it.
            logger.exception("Operation broke", extra={"operation_id": str(record.operation_id)})
            code = InfrastructorError.code
            record.outcome, record.error_code, record.error_message = "error", code, f"broke: {type(error).__name__}"
        else:
            record.outcome = code = "ok"
            if not flight.outdated:
                await self._store(operation, record, exit_body(result), collected_at)
        record.duration_ms = milliseconds(started)
        before = self._last.get((operation.name, device.id), "ok")
        self._last[operation.name, device.id] = code
        if code != before:
            self._service.audit.note(record)
        return code

    async def _store(
        self, operation: Operation[Any, Any], record: AuditRecord, body: bytes, collected_at: datetime
    ) -> None:
        if operation.cache is None:
            return
        key = CacheKey(data_type=operation.cache.data_type, device_id=str(record.device_id or "all"))
        entry = CacheEntry(schema=operation.schema_fingerprint, collected_at=collected_at, body=body)
        await self._service.cache.set(key, entry, operation.cache.ttl)
