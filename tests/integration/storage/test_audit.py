"""The audit log on a healthy PostgreSQL."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from infrastructor.ids import uuid7
from infrastructor.ports.cache import CacheState
from infrastructor.ports.callers import Effect
from infrastructor.storage import migrate
from tests.support.audit import audit_log, done, outcomes, record
from tests.support.postgres import eventually, execute, rows


async def test_intent_then_outcome_is_one_row(dsn: str, tmp_path: Path) -> None:
    async with audit_log(dsn, tmp_path) as log:
        run = record(
            Effect.DESTROY,
            operation="device_remove",
            parent_id=uuid7(),
            device_id=uuid7(),
            device="nas",
            params={"device": "nas", "deep": [{"ünï": 1.5}]},
            commands=["zpool list -H"],
            plan_id=uuid7(),
        )
        await log.begin(run)
        assert await outcomes(dsn) == {run.operation_id: "started"}
        run.outcome, run.error_code, run.error_message = "error", "command_failed", "exit 1"
        run.retries, run.duration_ms, run.cache = 2, 41.25, CacheState.MISS
        run.commands.append("zpool status")
        run.details = {"devices": 3}
        await log.finish(run)
    (row,) = await rows(dsn, "SELECT * FROM data_collection_audit")
    stored = {**dict(row), "params": json.loads(row["params"]), "details": json.loads(row["details"])}
    stored.pop("written_at")
    stored.pop("writer_id")
    assert stored == {
        "operation_id": run.operation_id,
        "started_at": run.started_at,
        "parent_id": run.parent_id,
        "operation": "device_remove",
        "effect": "destroy",
        "principal": "token:laptop",
        "role": "admin",
        "interface": "mcp",
        "client": "claude-code/2.1",
        "device_id": run.device_id,
        "device": "nas",
        "params": {"device": "nas", "deep": [{"ünï": 1.5}]},
        "commands": ["zpool list -H", "zpool status"],
        "plan_id": run.plan_id,
        "cache": "miss",
        "outcome": "error",
        "error_code": "command_failed",
        "error_message": "exit 1",
        "retries": 2,
        "duration_ms": 41.25,
        "details": {"devices": 3},
    }


async def test_a_refusal_needs_no_intent(dsn: str, tmp_path: Path) -> None:
    async with audit_log(dsn, tmp_path) as log:
        refused = record(Effect.CHANGE, outcome="refused", error_code="permission_denied")
        await log.finish(refused)
        assert await outcomes(dsn) == {refused.operation_id: "refused"}


async def test_a_note_is_written_within_a_second(dsn: str, tmp_path: Path) -> None:
    async with audit_log(dsn, tmp_path) as log:
        notes = [record(outcome="ok", cache=CacheState.HIT) for _ in range(50)]
        for note in notes:
            log.note(note)

        async def written() -> bool:
            return len(await outcomes(dsn)) == 50

        await eventually(written, within=1.5)
        assert log.statistics()["batches"] == 1


async def test_notes_are_written_at_close(dsn: str, tmp_path: Path) -> None:
    async with audit_log(dsn, tmp_path) as log:
        log.note(record(outcome="ok"))
    assert list((await outcomes(dsn)).values()) == ["ok"]


async def test_calls_at_once_share_transactions(dsn: str, tmp_path: Path) -> None:
    async with audit_log(dsn, tmp_path, write_timeout_s=5) as log:
        runs = [record() for _ in range(200)]
        await asyncio.gather(*(log.begin(run) for run in runs))
        await asyncio.gather(*(log.finish(done(run)) for run in runs))
        facts = log.statistics()
        assert facts["writes"] == 400
        assert facts["batches"] <= 6
        assert facts["state"] == "ok"
    assert await outcomes(dsn) == {run.operation_id: "ok" for run in runs}


async def test_the_first_outcome_stands(dsn: str, tmp_path: Path) -> None:
    async with audit_log(dsn, tmp_path) as log:
        run = record()
        await asyncio.gather(log.begin(run), log.finish(done(run)), log.finish(done(run, "error")))
        await log.finish(done(run, "cancelled"))
        await log.begin(done(run, "started"))
        assert await outcomes(dsn) == {run.operation_id: "ok"} or await outcomes(dsn) == {run.operation_id: "error"}


async def test_a_cancelled_caller_leaves_its_record(dsn: str, tmp_path: Path) -> None:
    async with audit_log(dsn, tmp_path) as log:
        runs = [record() for _ in range(20)]
        for turns, run in enumerate(runs):
            beginning = asyncio.create_task(log.begin(run))
            for _ in range(turns % 4):
                await asyncio.sleep(0)
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
            await log.finish(done(run, "cancelled"))
    assert await outcomes(dsn) == {run.operation_id: "cancelled" for run in runs}


HOSTILE: list[dict[str, Any]] = [
    {"params": {"a\0b": "c\0d", "\ud800": "\udfff", "😀": "😀"}},
    {"params": {"nan": float("nan"), "inf": float("inf"), "int": 10**5000, "set": {1}, "when": datetime.now(UTC)}},
    {"params": {("tuple", "key"): 1, "bytes": b"\xff"}},
    {"params": {"big": "x" * 100_000}},
    {"commands": ["a\0\ud800" + "x" * 50_000] * 1000},
    {"error_message": "\0" + "é" * 50_000, "error_code": "x" * 1000},
    {"device": "d" * 5000, "operation": "o" * 5000},
    {"retries": 2**40, "duration_ms": float("nan")},
    {"outcome": "no such outcome"},
    {"started_at": datetime(1990, 1, 1, tzinfo=UTC)},
    {"started_at": datetime(2090, 1, 1, tzinfo=UTC)},
]


async def test_no_value_can_keep_a_record_or_its_neighbours_out(dsn: str, tmp_path: Path) -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"d": deep}
    async with audit_log(dsn, tmp_path, write_timeout_s=5) as log:
        runs = [record(**{"outcome": "ok", **odd}) for odd in (*HOSTILE, {"params": circle}, {"params": deep})]
        await asyncio.gather(*(log.finish(run) for run in [*runs, record(outcome="ok")]))
        assert log.statistics()["state"] == "ok", log.statistics()["last_error"]
    found = await rows(
        dsn, "SELECT operation_id, pg_column_size(params) + pg_column_size(commands) AS size FROM data_collection_audit"
    )
    assert {row["operation_id"] for row in found} > {run.operation_id for run in runs}
    assert max(row["size"] for row in found) < 1 << 20


async def test_closed_records_stand_for_every_role(dsn: str, tmp_path: Path) -> None:
    async with audit_log(dsn, tmp_path) as log:
        closed, running = record(), record()
        for run in (closed, running):
            await log.begin(run)
        await log.finish(done(closed))
        partition = f"data_collection_audit_{datetime.now(UTC):%Y%m}01"
        for statement in (
            "DELETE FROM data_collection_audit",
            f"DELETE FROM {partition}",
            "TRUNCATE data_collection_audit",
            f"TRUNCATE {partition}",
            "TRUNCATE data_collection_audit_default",
            "UPDATE data_collection_audit SET outcome = 'ok'",
            "UPDATE data_collection_audit SET error_message = 'x' WHERE outcome = 'ok'",
            f"UPDATE {partition} SET details = '{{}}' WHERE outcome = 'ok'",
            "UPDATE data_collection_audit SET principal = 'x', outcome = 'ok' WHERE outcome = 'started'",
            "UPDATE data_collection_audit SET operation_id = uuidv7(), outcome = 'ok' WHERE outcome = 'started'",
            "UPDATE data_collection_audit SET started_at = '2090-01-01', outcome = 'ok' WHERE outcome = 'started'",
            "UPDATE data_collection_audit SET params = '{}' WHERE outcome = 'started'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await execute(dsn, statement)
            superuser = dsn.replace("infrastructor@", "postgres@")
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await execute(superuser, statement)
        assert await outcomes(dsn) == {closed.operation_id: "ok", running.operation_id: "started"}
        await log.finish(done(running))


async def test_a_record_outlives_its_device(dsn: str, tmp_path: Path) -> None:
    device_id = uuid7()
    await execute(dsn, "INSERT INTO devices (id, hostname) VALUES ($1, 'nas')", device_id)
    async with audit_log(dsn, tmp_path) as log:
        await log.finish(record(outcome="ok", device_id=device_id, device="nas"))
    await execute(dsn, "DELETE FROM devices")
    (row,) = await rows(dsn, "SELECT device_id, device FROM data_collection_audit")
    assert (row["device_id"], row["device"]) == (device_id, "nas")


async def test_records_of_any_time_find_a_partition(dsn: str, tmp_path: Path) -> None:
    moments = [datetime.now(UTC) + timedelta(days=days) for days in (-400, -20, 0, 20, 400)]
    async with audit_log(dsn, tmp_path) as log:
        for moment in moments:
            run = record(started_at=moment)
            await log.begin(run)
            await log.finish(done(run))
    assert list((await outcomes(dsn)).values()) == ["ok"] * 5


async def test_the_schema_is_where_this_version_wants_it(dsn: str) -> None:
    assert await migrate.upgrade(dsn) is False
