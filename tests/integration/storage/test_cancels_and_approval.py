"""What storage keeps for stopping and approving: found by id, told to others, decided once."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from infrastructor.ids import uuid7
from infrastructor.ports.callers import Effect
from infrastructor.settings import Settings
from infrastructor.storage.cancels import PostgresCancelRequests
from infrastructor.storage.plans import PostgresPlanStore
from infrastructor.storage.pool import Database
from infrastructor.storage.retention import apply_retention
from tests.integration.storage.test_plans_and_tokens import plan
from tests.support.audit import audit_log, done, record
from tests.support.postgres import execute, rows


async def test_a_record_is_found_by_its_id_as_it_was_written(dsn: str, tmp_path: Path) -> None:
    async with audit_log(dsn, tmp_path / "spool") as log:
        begun = record(Effect.CHANGE, device="nas", device_id=uuid7(), params={"pool": "tank"}, plan_id=uuid7())
        await log.begin(begun)
        running = await log.find(begun.operation_id)
        assert running is not None
        assert running.outcome == "started"
        begun.commands, begun.details = ["zpool scrub -- tank"], {"cancelled_by": "anna"}
        await log.finish(done(begun, "cancelled"))
        assert await log.find(begun.operation_id) == begun
        assert await log.find(uuid7()) is None
        assert await log.find(uuid4()) is None


async def test_looking_up_a_record_reads_the_partitions_of_its_time_only(dsn: str, tmp_path: Path) -> None:
    from infrastructor.storage.audit_table import SQL

    async with audit_log(dsn, tmp_path / "spool"):
        now = datetime.now(UTC).replace(day=15)
        text = SQL["find"].replace("$1", f"'{uuid7()}'").replace("$2::timestamptz", f"'{now.isoformat()}'::timestamptz")
        plan_lines = [row[0] for row in await rows(dsn, f"EXPLAIN {text}")]
    scanned = {line.split(" on ")[1].split()[0] for line in plan_lines if "Scan" in line and " on " in line}
    assert len({name for name in scanned if name.startswith("data_collection_audit_2")}) <= 1


async def test_a_request_to_stop_is_heard_and_kept_for_those_who_were_deaf(storage: Database, dsn: str) -> None:
    asking, hearing = PostgresCancelRequests(storage), PostgresCancelRequests(storage)
    mine, heard = uuid7(), asyncio.Queue[str]()
    await asking.ask(mine, "early")

    async def heed() -> None:
        for by in (await hearing.asked([mine])).values():
            heard.put_nowait(by)

    await hearing.follow(heed)
    try:
        assert await asyncio.wait_for(heard.get(), 5) == "early"
        await asking.ask(mine, "late")  # who asked first stands in the record
        await asking.ask(uuid7(), "of another run")
        assert await asyncio.wait_for(heard.get(), 5) == "early"
    finally:
        await hearing.close()
    assert await hearing.asked([]) == {}
    await execute(dsn, "UPDATE cancel_requests SET requested_at = now() - interval '2 days'")
    await apply_retention(storage, Settings())
    assert await hearing.asked([mine]) == {}


async def test_a_plan_that_needs_approval_is_taken_after_it_and_once(storage: Database) -> None:
    store = PostgresPlanStore(storage)
    saved = plan(needs_approval=True)
    await store.save(saved)
    assert await store.take(saved.token_hash) is None
    decided = await asyncio.gather(*(store.approve(saved.id, f"admin{n}") for n in range(10)))
    assert sum(decided) == 1
    taken = await asyncio.gather(*(store.take(saved.token_hash) for _ in range(10)))
    assert [one.id for one in taken if one is not None] == [saved.id]
    assert await store.approve(saved.id, "late") is False
    assert await store.withdraw(saved.id) is False


async def test_a_plan_waits_until_it_is_taken_withdrawn_or_late(storage: Database) -> None:
    store = PostgresPlanStore(storage)
    late = plan(expires_at=datetime.now(UTC) - timedelta(seconds=1), needs_approval=True)
    taken, withdrawn, waiting = plan(), plan(), plan()
    for one in (late, taken, withdrawn, waiting):
        await store.save(one)
    await store.take(taken.token_hash)
    assert await store.withdraw(withdrawn.id) is True
    assert await store.approve(late.id, "admin") is False
    assert await store.approve(waiting.id, "admin") is False  # it needs none
    assert [one.id for one in await store.waiting()] == [waiting.id]
    found = await store.find(withdrawn.token_hash)
    assert found is not None
    assert found.used_at is not None
    assert await store.find("unknown") is None
