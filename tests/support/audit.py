"""Audit records for tests, and what the table says about them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from infrastructor.ids import uuid7
from infrastructor.ports.audit import AuditRecord
from infrastructor.ports.cache import CacheState
from infrastructor.ports.callers import Caller, Effect, Interface, Role
from infrastructor.storage.audit import PostgresAuditLog
from infrastructor.storage.pool import Database
from tests.support.postgres import rows

CALLER = Caller(principal="token:laptop", role=Role.ADMIN, interface=Interface.MCP, client="claude-code/2.1")


def record(effect: Effect = Effect.READ, **fields: Any) -> AuditRecord:
    values = {"operation_id": uuid7(), "operation": "system_info", "caller": CALLER, "started_at": datetime.now(UTC)}
    return AuditRecord(effect=effect, **{**values, **fields})


def done(started: AuditRecord, outcome: str = "ok") -> AuditRecord:
    started.outcome = outcome
    started.cache = CacheState.MISS
    started.duration_ms = 12.5
    return started


async def outcomes(dsn: str) -> dict[Any, str]:
    """Outcome by operation id; fails when an operation has more than one row."""
    found = await rows(dsn, "SELECT operation_id, outcome FROM data_collection_audit")
    assert len({row["operation_id"] for row in found}) == len(found), "an operation has two rows"
    return {row["operation_id"]: row["outcome"] for row in found}


@asynccontextmanager
async def audit_log(dsn: str, spool_dir: Path, **options: Any) -> AsyncIterator[PostgresAuditLog]:
    """Patient by default: on a busy test machine a healthy PostgreSQL may take longer than 250 ms."""
    options = {"write_timeout_s": 10.0, **options}
    database = await Database.connect(dsn, command_timeout=2, acquire_timeout=1, connect_timeout=1)
    log = PostgresAuditLog(database, spool_dir=spool_dir, **options)
    await log.start()
    try:
        yield log
    finally:
        await log.close()
        await database.close()
