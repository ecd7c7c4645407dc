"""Events in one order for every process: nothing twice, nothing left out, nobody waits for a slow reader."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infrastructor.errors import SubscriberTooSlow
from infrastructor.events import Event, EventBus, EventFilter, Severity
from infrastructor.ids import uuid7
from infrastructor.storage import event_queue, subscription
from infrastructor.storage.events import PostgresEventBus
from infrastructor.storage.pool import Database
from tests.fakes import FakeEvents
from tests.support.events import event, take
from tests.support.postgres import TestPostgres, eventually, execute, rows

ALL = EventFilter()


@pytest.fixture(params=["fake", "real"])
async def bus(request: pytest.FixtureRequest, storage: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    monkeypatch.setattr(subscription, "MAX_BEHIND", 50)
    if request.param == "fake":
        yield FakeEvents(most_behind=50)
        return
    real = PostgresEventBus(storage)
    await real.start()
    yield real
    await real.close()


@contextlib.asynccontextmanager
async def opened(dsn: str, **limits: float) -> AsyncIterator[PostgresEventBus]:
    database = await Database.connect(dsn, **limits)  # type: ignore[arg-type]
    bus = PostgresEventBus(database)
    await bus.start()
    try:
        yield bus
    finally:
        await bus.close()
        await database.close()


async def drain(stream: AsyncIterator[Event], into: list[Event]) -> None:
    async for one in stream:
        into.append(one)


# --- what the real one and the fake have in common -----------------------------------------------------


async def test_what_is_published_comes_back_as_it_was(bus: EventBus) -> None:
    device = uuid7()
    sent = event(
        "container.die", device_id=device, device="nas", severity=Severity.WARNING, data={"exit_code": 137, "n": [1]}
    )
    assert await bus.publish([sent]) is True
    (found,) = await bus.since(0, ALL)
    assert replace(found, sequence=0, recorded_at=None) == sent
    assert found.sequence > 0
    assert found.recorded_at is not None
    assert abs(found.recorded_at - datetime.now(UTC)) < timedelta(minutes=1)


async def test_a_subscriber_sees_what_comes_and_not_what_was(bus: EventBus) -> None:
    await bus.publish([event("container.create")])
    async with bus.subscribe("containers") as stream:
        await bus.publish([event("other.thing", topic="other"), event("container.start"), event("container.stop")])
        assert [one.kind for one in await take(stream, 2)] == ["container.start", "container.stop"]


async def test_events_are_counted_by_kind_and_severity(bus: EventBus) -> None:
    ends = [
        event("container.die", severity=severity) for severity in (Severity.WARNING, Severity.WARNING, Severity.INFO)
    ]
    await bus.publish([*ends, event("container.start"), event("other.thing", topic="other")])
    assert dict(await bus.tally(EventFilter(topics=("containers",)))) == {
        ("container.die", Severity.WARNING): 2,
        ("container.die", Severity.INFO): 1,
        ("container.start", Severity.INFO): 1,
    }
    assert await bus.tally(EventFilter(until=datetime(2020, 1, 1, tzinfo=UTC))) == {}


async def test_the_extent_is_what_is_kept_and_what_was_given(bus: EventBus) -> None:
    assert await bus.extent() == (1, 0)
    await bus.publish([event(), event(), event()])
    assert await bus.extent() == (1, 3)


async def test_what_is_past_its_time_is_not_in_the_extent(storage: Database, dsn: str) -> None:
    async with opened(dsn) as bus:
        await bus.publish([event(), event(), event()])
        await execute(dsn, "DELETE FROM events WHERE sequence <= 2")
        assert await bus.extent() == (3, 3)
        await execute(dsn, "DELETE FROM events")
        assert await bus.extent() == (4, 3)


async def test_a_subscriber_can_go_on_after_a_sequence(bus: EventBus) -> None:
    await bus.publish([event(subject=str(n)) for n in range(20)])
    third = (await bus.since(0, ALL))[2].sequence
    async with bus.subscribe(after=third) as stream:
        await bus.publish([event(subject=str(n)) for n in range(20, 30)])
        assert [one.subject for one in await take(stream, 27)] == [str(n) for n in range(3, 30)]


async def test_a_subscriber_of_one_device_is_not_told_of_others(bus: EventBus) -> None:
    mine, other = uuid7(), uuid7()
    async with bus.subscribe("containers", device_id=mine) as stream:
        await bus.publish([event(device_id=other), event(device_id=None), event(device_id=mine, subject="mine")])
        assert [one.subject for one in await take(stream, 1)] == ["mine"]


async def test_the_same_event_is_stored_once(bus: EventBus) -> None:
    one, two = event(), event()
    await bus.publish([one])
    await bus.publish([one, two])
    assert [found.id for found in await bus.since(0, ALL)] == [one.id, two.id]


async def test_filters_narrow_both_ways_of_reading(bus: EventBus) -> None:
    now, nas = datetime.now(UTC), uuid7()
    await bus.publish(
        [
            event("container.start", at=now - timedelta(hours=2), device_id=nas),
            event("container.die", at=now - timedelta(hours=1), severity=Severity.WARNING),
            event("container.oom", at=now, severity=Severity.ERROR, subject="db", device_id=nas),
            event("config.change", topic="configs", at=now),
        ]
    )
    for wanted, kinds in (
        (EventFilter(topics=("containers",)), ["container.start", "container.die", "container.oom"]),
        (EventFilter(kinds=("container.die", "config.change")), ["container.die", "config.change"]),
        (EventFilter(device_id=nas), ["container.start", "container.oom"]),
        (EventFilter(subject="db"), ["container.oom"]),
        (EventFilter(severity=Severity.WARNING), ["container.die", "container.oom"]),
        (EventFilter(since=now - timedelta(hours=1), until=now), ["container.die"]),
    ):
        assert [one.kind for one in await bus.since(0, wanted)] == kinds
        assert [one.kind for one in await bus.latest(wanted)] == kinds[::-1]
    first = (await bus.since(0, ALL, limit=1))[0]
    assert [one.kind for one in await bus.since(first.sequence, ALL, limit=1)] == ["container.die"]
    last = (await bus.latest(ALL, limit=1))[0]
    assert [one.kind for one in await bus.latest(ALL, limit=1, before=last.sequence)] == ["container.oom"]


async def test_a_slow_reader_is_dropped_and_can_go_on(bus: EventBus) -> None:
    async with bus.subscribe() as slow, bus.subscribe() as quick:
        await bus.publish([event(subject="first")])
        assert (await take(slow, 1))[0].subject == (await take(quick, 1))[0].subject == "first"
        had = []
        for start in range(0, 200, 20):
            await bus.publish([event(subject=str(n)) for n in range(start, start + 20)])
            assert [one.subject for one in await take(quick, 20)] == [str(n) for n in range(start, start + 20)]
        with pytest.raises(SubscriberTooSlow):
            await drain(slow, had)
    position = had[-1].sequence if had else (await bus.since(0, ALL, limit=1))[0].sequence
    async with bus.subscribe(after=position) as again:
        rest = await take(again, 200 - len(had))
    assert [one.subject for one in [*had, *rest]] == [str(n) for n in range(200)]


async def test_closing_ends_the_readers(bus: Any) -> None:
    async with bus.subscribe() as stream:
        await bus.publish([event()])
        assert len(await take(stream, 1)) == 1
        await bus.close()
        async with asyncio.timeout(5):
            assert [one async for one in stream] == []


async def test_hostile_text_is_stored(bus: EventBus) -> None:
    await bus.publish([event(subject="web", data={"image": "a\u0000b", "n": "\ud800"}), event(subject="after")])
    assert len(await bus.since(0, ALL)) == 2


async def publish_and_hold(dsn: str, subject: str, seconds: float) -> None:
    """A transaction that publishes and commits only after a while: later sequences must wait for it."""
    item = {"id": str(uuid7()), "at": "2026-01-01T00:00:00Z", "severity": 10, "topic": "containers", "kind": "slow"}
    batch = json.dumps([{**item, "subject": subject, "data": {}}])
    text = f"PERFORM infrastructor_publish_events('{batch}'); PERFORM pg_sleep({seconds});"
    await execute(dsn, f"DO $x$ BEGIN {text} END $x$")


# --- the real one --------------------------------------------------------------------------------------


async def test_two_processes_resume_exactly_under_concurrent_publishers(dsn: str) -> None:
    """Readers stop and resume all the time while eight connections publish, some in slow transactions."""
    async with opened(dsn) as one, opened(dsn) as two:
        total = 0

        async def publish(bus: PostgresEventBus, name: str) -> None:
            nonlocal total
            for n in range(40):
                batch = [event(subject=f"{name}-{n}-{i}") for i in range(1 + n % 5)]
                total += len(batch)
                await bus.publish(batch)

        async def publish_slowly(name: str) -> None:
            nonlocal total
            for n in range(5):
                total += 1
                await publish_and_hold(dsn, f"{name}-{n}", 0.03)

        async def read(bus: PostgresEventBus, done: asyncio.Event) -> list[Event]:
            had: list[Event] = []
            position = 0
            while not (done.is_set() and len(had) >= total):
                async with bus.subscribe(after=position) as stream:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.05):
                            for _ in range(37):
                                had.append(await anext(stream))
                                position = had[-1].sequence
            return had

        done = asyncio.Event()
        reading = [asyncio.create_task(read(bus, done)) for bus in (one, two)]
        await asyncio.gather(
            *(publish(bus, f"{name}{n}") for name, bus in (("a", one), ("b", two)) for n in range(4)),
            *(publish_slowly(f"s{n}") for n in range(3)),
        )
        done.set()
        async with asyncio.timeout(30):
            for had in await asyncio.gather(*reading):
                sequences = [found.sequence for found in had]
                assert sequences == sorted(set(sequences))
                assert len(had) == total


async def test_a_sequence_is_never_seen_before_a_smaller_one(dsn: str) -> None:
    """The trap: an identity is taken at insert and seen at commit. Here a reader polls while commits are held up."""
    seen: list[int] = []
    stop = asyncio.Event()

    async def poll() -> None:
        position = 0
        while not stop.is_set():
            for row in await rows(dsn, "SELECT sequence FROM events WHERE sequence > $1 ORDER BY 1", position):
                seen.append(row["sequence"])
                position = row["sequence"]

    async def publish(n: int) -> None:
        for i in range(10):
            await publish_and_hold(dsn, f"{n}-{i}", 0.001 + 0.01 * (n + i % 3))

    polling = asyncio.create_task(poll())
    await asyncio.gather(*(publish(n) for n in range(6)))
    await asyncio.sleep(0.2)
    stop.set()
    await polling
    stored = [row["sequence"] for row in await rows(dsn, "SELECT sequence FROM events ORDER BY 1")]
    assert len(stored) == 60
    assert seen == stored


async def test_an_event_of_another_program_reaches_us(dsn: str) -> None:
    """A process of its own publishes; the subscriber here gets it."""
    script = """
import asyncio, sys
from infrastructor.storage.events import PostgresEventBus
from infrastructor.storage.pool import Database
from tests.support.events import event

async def main():
    database = await Database.connect(sys.argv[1])
    bus = PostgresEventBus(database)
    await bus.start()
    await bus.publish([event(subject=str(n)) for n in range(50)])
    await bus.close()
    await database.close()

asyncio.run(main())
"""
    async with opened(dsn) as bus, bus.subscribe("containers") as stream:
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, dsn, stdin=asyncio.subprocess.DEVNULL
        )
        assert [one.subject for one in await take(stream, 50, within=30)] == [str(n) for n in range(50)]
        assert await program.wait() == 0


async def test_a_killed_postgres_costs_a_publisher_nothing(broken_dsn: str, own_postgres: TestPostgres) -> None:
    async with opened(broken_dsn, command_timeout=1, acquire_timeout=1) as bus, bus.subscribe() as stream:
        await bus.publish([event(subject="before")])
        assert [one.subject for one in await take(stream, 1)] == ["before"]
        await asyncio.to_thread(own_postgres.crash)
        assert await bus.publish([event(subject="0")]) is False
        for n in range(1, 300):
            async with asyncio.timeout(0.2):
                assert await bus.publish([event(subject=str(n))]) is False
        assert (bus.statistics()["state"], bus.statistics()["waiting"]) == ("away", 300)
        await asyncio.to_thread(own_postgres.start)
        assert [one.subject for one in await take(stream, 300, within=30)] == [str(n) for n in range(300)]
        assert bus.statistics()["state"] == "ok"


async def test_a_frozen_postgres_neither_loses_nor_doubles(broken_dsn: str, own_postgres: TestPostgres) -> None:
    async with opened(broken_dsn, command_timeout=0.5, acquire_timeout=0.5, connect_timeout=0.5) as bus:
        await bus.publish([event(subject="before")])
        with own_postgres.frozen():
            for n in range(100):
                async with asyncio.timeout(3):
                    await bus.publish([event(subject=str(n))])

        async def stored() -> bool:
            return bus.statistics()["waiting"] == 0

        await eventually(stored, within=20)
        found = await bus.since(0, ALL)
        assert [one.subject for one in found] == ["before", *(str(n) for n in range(100))]


async def test_what_no_longer_fits_is_dropped_and_said(
    broken_dsn: str, own_postgres: TestPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_queue, "MAX_WAITING", 100)
    async with opened(broken_dsn, command_timeout=1, acquire_timeout=1) as bus:
        await asyncio.to_thread(own_postgres.crash)
        for n in range(150):
            await bus.publish([event(subject=str(n))])
        assert bus.statistics()["dropped"] == 50
        await asyncio.to_thread(own_postgres.start)

        async def stored() -> bool:
            return bus.statistics()["waiting"] == 0

        await eventually(stored, within=20)
        found = await bus.since(0, ALL)
        assert [one.subject for one in found if one.topic == "containers"] == [str(n) for n in range(50, 150)]
        (said,) = [one for one in found if one.topic == "events"]
        assert (said.kind, said.severity, said.data["count"]) == ("events.dropped", Severity.ERROR, 50)


async def test_one_event_that_cannot_be_stored_holds_up_no_other(dsn: str, storage: Database) -> None:
    await execute(dsn, "ALTER TABLE events ADD CHECK (kind <> 'bad')")
    async with opened(dsn) as bus:
        await bus.publish([event(subject="a"), event("bad"), event(subject="b")])
        assert [one.subject for one in await bus.since(0, ALL)] == ["a", "b"]
        assert bus.statistics()["refused"] == 1
