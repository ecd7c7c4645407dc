"""An audit record as one line of JSON: what goes into the spool and, as it is, into PostgreSQL."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from infrastructor.ports.audit import AuditRecord
from infrastructor.ports.cache import CacheState
from infrastructor.ports.callers import Caller, Effect, Interface, Role
from infrastructor.secret_words import is_harmless, mask_value
from infrastructor.storage.audit_commands import commands_kept
from infrastructor.storage.text import cut, cut_masked, dump

NAME_CHARS = 255
MESSAGE_CHARS = 4096
DOCUMENT_BYTES = 32 << 10  # params and details, each
_MAX_INT = 2**31 - 1


def encode(record: AuditRecord, writer_id: UUID) -> str:
    """The record as ASCII JSON, secrets masked, cleaned and capped; never raises on what a caller put into it.

    The one place where a record becomes text that is kept, so that what is masked here is masked everywhere.
    """
    caller = record.caller
    fields = {
        "operation_id": str(record.operation_id),
        "started_at": _moment(record.started_at),
        "writer_id": str(writer_id),
        "parent_id": _id(record.parent_id),
        "operation": cut(record.operation, NAME_CHARS),
        "effect": record.effect.value,
        "principal": cut(caller.principal, NAME_CHARS),
        "role": caller.role.value,
        "interface": caller.interface.value,
        "client": None if caller.client is None else cut(caller.client, NAME_CHARS),
        "device_id": _id(record.device_id),
        "device": None if record.device is None else cut_masked(record.device, NAME_CHARS),
        "commands": commands_kept(record.commands, record.changes),
        "plan_id": _id(record.plan_id),
        "cache": record.cache.value,
        "outcome": record.outcome,
        "error_code": None if record.error_code is None else cut(record.error_code, NAME_CHARS),
        "error_message": None if record.error_message is None else cut_masked(record.error_message, MESSAGE_CHARS),
        "retries": max(0, min(record.retries, _MAX_INT)),
        "duration_ms": _finite(record.duration_ms),
    }
    head = dump(fields)
    details = "null" if record.details is None else _document(record.details)
    return f'{head[:-1]},"params":{_document(record.params)},"details":{details}}}'


def decode(row: Mapping[str, Any]) -> AuditRecord:
    """The record a row of the table holds."""
    return AuditRecord(
        operation_id=row["operation_id"],
        operation=row["operation"],
        effect=Effect(row["effect"]),
        caller=Caller(
            principal=row["principal"],
            role=Role(row["role"]),
            interface=Interface(row["interface"]),
            client=row["client"],
        ),
        started_at=row["started_at"],
        parent_id=row["parent_id"],
        device_id=row["device_id"],
        device=row["device"],
        params=row["params"],
        commands=list(row["commands"]),
        plan_id=row["plan_id"],
        cache=CacheState(row["cache"]),
        outcome=row["outcome"],
        error_code=row["error_code"],
        error_message=row["error_message"],
        retries=row["retries"],
        duration_ms=row["duration_ms"],
        details=row["details"],
    )


def amend(line: str, **fields: Any) -> str:
    """The same record with other fields."""
    return dump({**json.loads(line), **fields})


def reduced(line: str) -> str:
    """The same record without anything free-form, for a database that refuses the whole."""
    note = {"_unstorable": True}
    return amend(line, params=note, commands=[], error_message=None, details=None, retries=0)


def _document(value: Mapping[str, Any]) -> str:
    text = dump(dict(value))
    if len(text) <= DOCUMENT_BYTES:
        return text if is_harmless(text) else dump(mask_value(json.loads(text)))
    start = dump(mask_value(_beginning(value, [DOCUMENT_BYTES // 4])))[: DOCUMENT_BYTES // 4]
    return dump({"_truncated": True, "_bytes": len(text), "_start": start})


def _beginning(value: Any, left: list[int]) -> Any:
    """The first so many characters of a document, before anyone looks through all of it for secrets."""
    if left[0] <= 0:
        return None
    if isinstance(value, str):
        left[0], value = left[0] - len(value), value[: left[0]]
    elif isinstance(value, Mapping):
        value = {str(key)[: left[0]]: _beginning(item, left) for key, item in value.items() if _room(left)}
    elif isinstance(value, list | tuple):
        value = [_beginning(item, left) for item in value if _room(left)]
    return value


def _room(left: list[int]) -> bool:
    left[0] -= 1
    return left[0] > 0


def _moment(moment: datetime) -> str:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()


def _id(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
