"""Bytes that a container's history takes in PostgreSQL: `python -m benchmarks.container_storage [hours]`.

Fills a fresh embedded PostgreSQL as the server does (500 containers of 10 devices, one COPY a minute), and says what
a row takes with its index, and what a year comes to.
"""

import asyncio
import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infrastructor.container_store import ContainerSample, ContainerState
from infrastructor.events import Event
from infrastructor.ids import uuid7
from infrastructor.storage.containers import PostgresContainerStore
from infrastructor.storage.events import PostgresEventBus
from infrastructor.storage.pool import Database
from infrastructor.storage.sql import load
from tests.support.postgres import TestPostgres

DEVICES, CONTAINERS = 10, 50
STATES_A_DAY, EVENTS_A_DAY = 10, 40  # of one container, generously
SIZE = "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE inhparent = $1::text::regclass"


async def main(hours: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="infrastructor-bench-"))
    server = TestPostgres(folder)
    await asyncio.to_thread(server.start)
    try:
        database = await Database.connect(await server.database(), command_timeout=600)
        await measure(database, hours)
        await database.close()
    finally:
        await asyncio.to_thread(server.stop)


async def measure(database: Database, hours: int) -> None:
    devices = [uuid7() for _ in range(DEVICES)]
    for number, device in enumerate(devices):
        await database.execute("INSERT INTO devices (id, hostname) VALUES ($1, $2)", device, f"host{number}")
    empty = {table: await database.fetchval(SIZE, table) for table in TABLES}
    store = PostgresContainerStore(database)
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours + 3)
    for minute in range(hours * 60):
        for device in devices:
            store.add_samples(device, start + timedelta(minutes=minute), [sample(n, minute) for n in range(CONTAINERS)])
        await store.flush()
    await database.execute(load("containers")["roll_up"], datetime.now(UTC), timeout=600)
    for turn in range(STATES_A_DAY):
        for device in devices:
            states = [state(n, turn) for n in range(CONTAINERS)]
            await store.add_states(device, start + timedelta(minutes=turn), states)
    bus = PostgresEventBus(database)
    await bus.start()
    for device in devices:
        for _ in range(EVENTS_A_DAY):
            await bus.publish([event(device, n) for n in range(CONTAINERS)])
    await bus.close()
    counted = {}
    for table, keep in TABLES.items():
        rows = await database.fetchval(f"SELECT count(*) FROM {table}")
        counted[table] = int(await database.fetchval(SIZE, table) - empty[table]) / rows
        year = counted[table] * A_DAY[table] * DEVICES * CONTAINERS * keep
        print(f"{table:28} {rows:9,} rows {counted[table]:6.0f} bytes a row, {year / 1e9:5.2f} GB at its retention")


TABLES = {"container_samples": 30, "container_samples_hourly": 365, "container_snapshots": 30, "events": 30}
A_DAY = {
    "container_samples": 1440,
    "container_samples_hourly": 24,
    "container_snapshots": STATES_A_DAY,
    "events": EVENTS_A_DAY,
}


def sample(number: int, minute: int) -> ContainerSample:
    return ContainerSample(
        name=f"container-{number}",
        cpu_percent=random.uniform(0, 200),
        memory_bytes=random.randrange(2**34),
        rx_bytes=minute * 10_000 + number,
        tx_bytes=minute * 20_000,
        read_bytes=minute * 100,
        written_bytes=minute * 4096,
        pids=random.randrange(100),
    )


def state(number: int, turn: int) -> ContainerState:
    return ContainerState(
        name=f"container-{number}",
        container_id=uuid7().hex * 2,
        state="running" if turn % 2 else "exited",
        health="healthy",
        image="lscr.io/linuxserver/swag:latest",
        image_id="sha256:" + uuid7().hex * 2,
        restart_count=turn,
        exit_code=137,
        oom_killed=False,
        started_at="2026-11-21T10:00:00+00:00",
        finished_at="2026-11-21T10:00:00+00:00",
        ports=("443", "80"),
        stack="proxy",
    )


def event(device: object, number: int) -> Event:
    return Event(
        id=uuid7(),
        topic="containers",
        kind="container.die",
        at=datetime.now(UTC),
        device_id=device,  # type: ignore[arg-type]
        device="host1",
        subject=f"container-{number}",
        data={"container_id": uuid7().hex * 2, "image": "lscr.io/linuxserver/swag:latest", "exit_code": 137},
    )


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 12))
