"""Records left open become `unknown` when, and only when, their writer is gone."""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from infrastructor.ids import uuid7
from infrastructor.storage import audit_table
from tests.support.audit import audit_log, done, outcomes, record
from tests.support.postgres import TestPostgres, execute, rows

WRITER = """
import asyncio, sys
from pathlib import Path
from tests.support.audit import audit_log, record
async def main():
    async with audit_log(sys.argv[1], Path(sys.argv[2])) as log:
        run = record()
        await log.begin(run)
        print(run.operation_id, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def another_writer(dsn: str, spool: Path) -> tuple[asyncio.subprocess.Process, str]:
    """A process of its own with one operation running."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WRITER, dsn, str(spool)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    return process, (await process.stdout.readline()).decode().strip()


async def test_only_the_dead_are_closed(dsn: str, tmp_path: Path) -> None:
    dead, dead_run = await another_writer(dsn, tmp_path)
    live, live_run = await another_writer(dsn, tmp_path)
    os.kill(dead.pid, signal.SIGKILL)
    await dead.wait()
    async with audit_log(dsn, tmp_path) as log:
        mine = record()
        await log.begin(mine)
        found = {str(one): outcome for one, outcome in (await outcomes(dsn)).items()}
        assert found == {dead_run: "unknown", live_run: "started", str(mine.operation_id): "started"}
        await log.finish(done(mine))
    os.kill(live.pid, signal.SIGKILL)
    await live.wait()
    async with audit_log(dsn, tmp_path):
        assert sorted((await outcomes(dsn)).values()) == ["ok", "unknown", "unknown"]
    assert await rows(dsn, "SELECT * FROM audit_writers") == []


async def test_writers_of_other_machines_are_trusted_for_a_while(
    broken_dsn: str, own_postgres: TestPostgres, tmp_path: Path
) -> None:
    await asyncio.to_thread(own_postgres.crash)
    await asyncio.to_thread(own_postgres.start)
    dsn = broken_dsn
    far, fresh = uuid7(), uuid7()
    for writer, age in ((far, "1 hour"), (fresh, "1 minute")):
        await execute(
            dsn,
            f"INSERT INTO audit_writers VALUES ($1, $2, 'elsewhere', 1, now(), now() - interval '{age}')",
            writer,
            uuid7(),
        )
        await execute(
            dsn,
            """INSERT INTO data_collection_audit
               (operation_id, started_at, writer_id, operation, effect, principal, role, interface, cache, outcome)
               VALUES ($1, now() - interval '1 hour', $1, 'x', 'read', 'p', 'admin', 'cli', 'miss', 'started')""",
            writer,
        )
    async with audit_log(dsn, tmp_path):
        pass
    # PostgreSQL itself was started a moment ago: nobody could have said anything for five minutes.
    assert set((await outcomes(dsn)).values()) == {"started"}


async def test_silence_on_another_machine_is_death(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_table, "SILENCE", timedelta(milliseconds=1))
    async with audit_log(dsn, tmp_path / "one machine") as far:
        run = record()
        await far.begin(run)
        async with audit_log(dsn, tmp_path / "another"):
            assert await outcomes(dsn) == {run.operation_id: "unknown"}
        await far.finish(done(run))
    assert await outcomes(dsn) == {run.operation_id: "unknown"}, "what was called doubt stays doubt"


async def test_two_logs_of_one_process_do_not_mistake_each_other_for_dead(dsn: str, tmp_path: Path) -> None:
    async with audit_log(dsn, tmp_path) as first:
        run = record()
        await first.begin(run)
        async with audit_log(dsn, tmp_path):
            assert await outcomes(dsn) == {run.operation_id: "started"}
        await first.finish(done(run))
    assert await outcomes(dsn) == {run.operation_id: "ok"}


async def test_a_record_left_open_at_a_clean_end_is_in_doubt(dsn: str, tmp_path: Path) -> None:
    async with audit_log(dsn, tmp_path) as log:
        await log.begin(run := record())
    assert await outcomes(dsn) == {run.operation_id: "unknown"}
