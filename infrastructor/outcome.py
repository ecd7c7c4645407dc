"""What a run leaves behind: its record, its line in the log, and the body that goes out."""

import json
import logging
from datetime import UTC, datetime
from time import perf_counter
from typing import Any
from uuid import UUID

from infrastructor.ids import uuid7
from infrastructor.operation import Operation, Params, Result
from infrastructor.ports.audit import AuditRecord
from infrastructor.ports.cache import CacheState
from infrastructor.ports.callers import Caller
from infrastructor.sanitize import clean_json, suspicious

logger = logging.getLogger("infrastructor.service")  # the name these lines have in logs


def new_record(
    operation: Operation[Any, Any], caller: Caller, parent_id: UUID | None, params: Params | None = None
) -> AuditRecord:
    """The record of a run that begins now."""
    return AuditRecord(
        operation_id=uuid7(),
        parent_id=parent_id,
        operation=operation.name,
        effect=operation.effect,
        caller=caller,
        started_at=datetime.now(UTC),
        params={} if params is None else params.model_dump(mode="json", exclude={"plan_token"}),
    )


def exit_body(result: Result) -> bytes:
    """The result as JSON, without what could speak to a terminal or to an assistant unseen."""
    body = result.__pydantic_serializer__.to_json(result)
    if suspicious(body):
        body = json.dumps(clean_json(json.loads(body)), ensure_ascii=False, separators=(",", ":")).encode()
    return body


def log_finished(operation: Operation[Any, Any], record: AuditRecord) -> None:
    """One line for a run that ended; what went wrong is a warning."""
    level = logging.INFO if record.outcome == "ok" else logging.WARNING
    logger.log(
        level,
        "Operation finished",
        extra={
            "operation_id": str(record.operation_id),
            "operation": record.operation,
            "device_id": str(record.device_id) if record.device_id else None,
            "data_type": operation.cache.data_type if operation.cache else None,
            "execution_time_ms": round(record.duration_ms or 0.0, 2),
            "cache_hit": record.cache is CacheState.HIT,
            "outcome": record.outcome,
            "error_code": record.error_code,
            "source": record.caller.interface,
        },
    )


def milliseconds(started: float) -> float:
    """Since a reading of `perf_counter`."""
    return (perf_counter() - started) * 1000
