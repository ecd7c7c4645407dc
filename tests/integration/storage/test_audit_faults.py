"""The audit log while PostgreSQL is frozen, killed, restarted, or answers into the void."""

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from infrastructor.errors import AuditUnavailable
from infrastructor.ports.audit import AuditRecord
from infrastructor.ports.callers import Effect
from infrastructor.storage.audit import PostgresAuditLog
from infrastructor.storage.spool import Spool
from tests.support.audit import audit_log, done, outcomes, record
from tests.support.postgres import TestPostgres, connection, eventually, rows
from tests.support.toxic import Toxic


def files(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


async def back(log: PostgresAuditLog) -> None:
    async def replayed() -> bool:
        facts = log.statistics()
        return facts["state"] == "ok" and facts["spooled"] == 0

    await eventually(replayed, within=20)


async def refused(log: PostgresAuditLog, run: AuditRecord) -> float:
    """How long it took to be refused, in seconds."""
    started = time.perf_counter()
    with pytest.raises(AuditUnavailable):
        await log.begin(run)
    return time.perf_counter() - started


async def test_reads_go_on_and_changes_are_refused_while_postgres_is_down(
    broken_dsn: str, own_postgres: TestPostgres, tmp_path: Path
) -> None:
    async with audit_log(broken_dsn, tmp_path, write_timeout_s=0.25) as log:
        before, change_before = record(), record(Effect.CHANGE)
        await log.begin(before)
        await log.begin(change_before)
        await asyncio.to_thread(own_postgres.crash)
        await log.finish(done(before))
        await log.finish(done(change_before))
        reads = [record() for _ in range(30)]
        for read in reads:
            await log.begin(read)
            await log.finish(done(read))
        changes = [record(effect) for effect in (Effect.CHANGE, Effect.DESTROY) * 3]
        took = [await refused(log, change) for change in changes]
        assert min(took) < 0.3
        assert log.statistics()["state"] == "spooling"
        assert log.statistics()["spooled"] >= 34
        await asyncio.to_thread(own_postgres.start)
        await back(log)
        after = record(Effect.CHANGE)
        await log.begin(after)
        await log.finish(done(after))
    expected = {run.operation_id: "ok" for run in (before, change_before, after, *reads)}
    expected |= {change.operation_id: "refused" for change in changes}
    assert await outcomes(broken_dsn) == expected
    assert files(tmp_path, "*.db") == []


async def test_a_frozen_postgres_costs_each_caller_little_and_nothing_is_doubled(
    broken_dsn: str, own_postgres: TestPostgres, tmp_path: Path
) -> None:
    async with audit_log(broken_dsn, tmp_path, write_timeout_s=0.25) as log:
        await log.finish(record(outcome="ok"))
        with own_postgres.frozen():
            first = record()
            started = time.perf_counter()
            await log.begin(first)
            assert time.perf_counter() - started < 2, "250 ms and the disk"
            started = time.perf_counter()
            runs = [record() for _ in range(20)]
            for run in runs:
                await log.begin(run)
                await log.finish(done(run))
            assert time.perf_counter() - started < 20 * 0.25, "nobody waits 250 ms again"
            change = record(Effect.CHANGE)
            assert await refused(log, change) < 2
        await back(log)
        await log.finish(done(first))
    found = await outcomes(broken_dsn)
    assert len(found) == 23
    assert found[change.operation_id] == "refused"
    assert set(found.values()) == {"ok", "refused"}


async def test_an_intent_committed_too_late_is_closed_by_its_refusal(
    broken_dsn: str, own_postgres: TestPostgres, tmp_path: Path
) -> None:
    async with audit_log(broken_dsn, tmp_path, write_timeout_s=0.25) as log:
        await log.finish(record(outcome="ok"))
        with own_postgres.frozen():
            change = record(Effect.CHANGE)
            assert await refused(log, change) < 2
        await back(log)
        assert (await outcomes(broken_dsn))[change.operation_id] == "refused"


async def test_a_lost_reply_to_commit_doubles_nothing(
    broken_dsn: str, own_postgres: TestPostgres, tmp_path: Path
) -> None:
    proxy = Toxic(str(own_postgres.sockets / ".s.PGSQL.5432"))
    (tmp_path / "sockets").mkdir()
    await proxy.start(tmp_path / "sockets" / ".s.PGSQL.5432")
    dsn = broken_dsn.split("?", maxsplit=1)[0] + f"?host={tmp_path / 'sockets'}"
    async with audit_log(dsn, tmp_path / "spool", write_timeout_s=0.25) as log:
        runs = []
        for _ in range(8):
            proxy.lose_replies = True
            run = record()
            runs.append(run)
            await log.begin(run)
            proxy.cut()
            proxy.lose_replies = False
            await log.finish(done(run))
            await back(log)
    await proxy.close()
    assert await outcomes(broken_dsn) == {run.operation_id: "ok" for run in runs}


async def _read_only(dsn: str, setting: str) -> None:
    """Like a full disk or a standby: PostgreSQL answers and writes nothing. New sessions only, so end the old."""
    name = dsn.split("/")[3].split("?", maxsplit=1)[0]
    async with connection(dsn.replace("infrastructor@", "postgres@")) as admin:
        await admin.execute("SET default_transaction_read_only = off")
        await admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {setting}")
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()",
            name,
        )


async def test_a_postgres_that_refuses_to_write_is_an_outage(
    broken_dsn: str, own_postgres: TestPostgres, tmp_path: Path
) -> None:
    async with audit_log(broken_dsn, tmp_path, write_timeout_s=0.25) as log:
        await _read_only(broken_dsn, "on")
        run = record()
        await log.begin(run)
        assert await refused(log, record(Effect.CHANGE)) < 2
        await _read_only(broken_dsn, "off")
        await log.finish(done(run))
        await back(log)
    assert (await outcomes(broken_dsn))[run.operation_id] == "ok"


async def test_a_farewell_on_an_idle_connection_is_an_outage_not_a_bug(
    broken_dsn: str, own_postgres: TestPostgres, tmp_path: Path
) -> None:
    async with audit_log(broken_dsn, tmp_path, write_timeout_s=0.25) as log:
        runs = []
        async with connection(broken_dsn.replace("infrastructor@", "postgres@")) as admin:
            for _ in range(25):
                await admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
                runs.append(record(outcome="ok"))
                await log.finish(runs[-1])
        await back(log)
    assert await outcomes(broken_dsn) == {run.operation_id: "ok" for run in runs}


async def test_without_a_disk_everything_is_refused(
    broken_dsn: str, own_postgres: TestPostgres, tmp_path: Path
) -> None:
    async with audit_log(broken_dsn, tmp_path, write_timeout_s=0.25, max_spool_bytes=64 << 10) as log:
        await asyncio.to_thread(own_postgres.crash)
        kept: list[AuditRecord] = []

        async def fill_the_disk() -> None:
            while len(kept) < 1000:
                run = record(params={"x": "y" * 2000}, outcome="ok")
                await log.finish(run)
                kept.append(run)

        with pytest.raises(AuditUnavailable, match="spool"):
            await fill_the_disk()
        log.note(record(outcome="ok"))
        assert 1 < len(kept) < 100
        await asyncio.to_thread(own_postgres.start)
        await back(log)
        await log.finish(record(outcome="ok"))
    found = await outcomes(broken_dsn)
    assert found.keys() >= {run.operation_id for run in kept}


async def test_a_spool_that_fails_refuses_and_is_left_alone(
    broken_dsn: str, own_postgres: TestPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with audit_log(broken_dsn, tmp_path, write_timeout_s=0.25) as log:
        await asyncio.to_thread(own_postgres.crash)
        first, lost, last = record(outcome="ok"), record(outcome="ok"), record(outcome="ok")
        await log.finish(first)

        def broken(*_: Any) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        with monkeypatch.context() as patch:
            patch.setattr(Spool, "append", broken)
            with pytest.raises(AuditUnavailable, match="disk I/O error"):
                await log.finish(lost)
            assert log.statistics()["state"] == "failing"
        await log.finish(last)
        assert log.statistics()["state"] == "spooling"
        assert len(files(tmp_path, "*.db")) == 2, "a file that failed is not written again"
        await asyncio.to_thread(own_postgres.start)
        await back(log)
    assert set(await outcomes(broken_dsn)) == {first.operation_id, last.operation_id}


async def test_what_one_process_left_in_its_spool_the_next_one_replays(
    broken_dsn: str, own_postgres: TestPostgres, tmp_path: Path
) -> None:
    async with audit_log(broken_dsn, tmp_path, write_timeout_s=0.25) as log:
        await asyncio.to_thread(own_postgres.crash)
        finished, open_ = record(), record()
        await log.begin(finished)
        await log.finish(done(finished))
        await log.begin(open_)
    assert len(files(tmp_path, "*.db")) == 1
    await asyncio.to_thread(own_postgres.start)
    async with audit_log(broken_dsn, tmp_path, write_timeout_s=0.25):
        assert await outcomes(broken_dsn) == {finished.operation_id: "ok", open_.operation_id: "unknown"}
    assert files(tmp_path, "*.db") == []
    assert await rows(broken_dsn, "SELECT * FROM audit_writers") == []


async def test_a_damaged_orphan_is_set_aside(dsn: str, tmp_path: Path) -> None:
    async with audit_log(dsn, tmp_path):
        pass
    (tmp_path / "0198c0de-0000-7000-8000-000000000001.1.db").write_bytes(b"not a database, but long enough" * 200)
    async with audit_log(dsn, tmp_path) as log:
        await log.finish(record(outcome="ok"))
    assert len(files(tmp_path, "*.damaged")) == 1


async def test_the_program_does_not_start_without_postgres(tmp_path: Path) -> None:
    from infrastructor.errors import DatabaseOperationError

    with pytest.raises(DatabaseOperationError, match="PostgreSQL"):
        async with audit_log("postgresql://infrastructor@/x?host=/nonexistent", tmp_path):
            pass
