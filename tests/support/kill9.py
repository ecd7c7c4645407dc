"""Kill writers of the audit log at random moments, then compare what was acknowledged with what is recorded.

    python -m tests.support.kill9 --data-dir /tmp/k9 --kills 1000 --faults

Each worker runs: intent, effect (a line in `device.log`), outcome, acknowledgement. Prints one JSON object.
"""

import argparse
import asyncio
import json
import logging
import os
import random
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from infrastructor.errors import AuditUnavailable, DatabaseOperationError
from infrastructor.ports.callers import Effect
from tests.support.audit import audit_log, done, record
from tests.support.postgres import TestPostgres, rows

WORKERS = 2
LANES = 6


async def work(dsn: str, spool: Path, effects: int, acks: int, *, buggy: bool) -> None:
    chance = random.Random(os.urandom(8))

    async def lane(log: Any) -> None:
        while True:
            run = record(chance.choice((Effect.READ, Effect.READ, Effect.CHANGE)))
            try:
                await log.begin(run)
                os.write(effects, f"{run.operation_id}\n".encode())
                await asyncio.sleep(chance.choice((0, 0, 0.001, 0.01)))
                if buggy:
                    log.note(done(run))  # acknowledged before it is durable
                else:
                    await log.finish(done(run))
            except AuditUnavailable:
                await asyncio.sleep(0.005)
                continue
            os.write(acks, f"{run.operation_id}\n".encode())

    async with audit_log(dsn, spool, write_timeout_s=0.25) as log:
        await asyncio.gather(*(lane(log) for _ in range(LANES)))


class Slot:
    """One worker process after the other."""

    def __init__(self, dsn: str, spool: Path, effects: int, *, buggy: bool) -> None:
        self._arguments = (dsn, spool, effects)
        self._buggy = buggy
        self.acked: list[str] = []
        self.pid = 0

    def start(self) -> None:
        read_end, write_end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(read_end)
            try:
                asyncio.run(work(*self._arguments, write_end, buggy=self._buggy))
            except DatabaseOperationError:
                pass  # PostgreSQL is away just now: no start, as promised
            finally:
                os._exit(1)
        os.close(write_end)
        self._acks = read_end
        self._text = b""

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.drain()
        os.close(self._acks)
        self.acked += [line for line in self._text.decode().split("\n") if len(line) == 36]

    def drain(self) -> None:
        while select.select([self._acks], [], [], 0)[0] and (data := os.read(self._acks, 1 << 16)):
            self._text += data


def harass(server: TestPostgres, slots: list[Slot], kills: int, *, faults: bool) -> None:
    for slot in slots:
        slot.start()
    for number in range(kills):
        time.sleep(random.uniform(0.005, 0.12))
        slot = slots[number % len(slots)]
        for one in slots:
            one.drain()
        slot.kill()
        if faults and number % 10 == 5:
            with server.frozen():
                time.sleep(random.uniform(0.1, 0.5))
        if faults and number % 10 == 9:
            server.crash()
            time.sleep(random.uniform(0, 0.3))
            slot.start()
            time.sleep(0.05)
            server.start()
            continue
        slot.start()
    for slot in slots:
        slot.kill()


async def settle(dsn: str, spool: Path) -> list[Any]:
    """What the next start makes of it, as soon as nothing is open any more."""
    async with audit_log(dsn, spool) as log:
        deadline = time.monotonic() + 30
        while True:
            # Asked before the rows: what is replayed in between is not among them yet.
            replayed = log.statistics()["spooled"] == 0
            found = await rows(dsn, "SELECT operation_id::text AS id, outcome FROM data_collection_audit")
            if time.monotonic() > deadline or (replayed and all(row["outcome"] != "started" for row in found)):
                return found
            await asyncio.sleep(0.05)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--faults", action="store_true", help="also freeze and crash PostgreSQL")
    parser.add_argument("--seeded-bug", action="store_true", help="acknowledge too early: the check must notice")
    options = parser.parse_args()
    logging.disable()

    server = TestPostgres(options.data_dir)
    server.start()
    try:
        dsn = asyncio.run(server.database())
        spool, device = options.data_dir / "spool", options.data_dir / "device.log"
        effects = os.open(device, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        slots = [Slot(dsn, spool, effects, buggy=options.seeded_bug) for _ in range(WORKERS)]
        started = time.monotonic()
        harass(server, slots, options.kills, faults=options.faults)
        seconds = time.monotonic() - started
        found = asyncio.run(settle(dsn, spool))
    finally:
        server.stop()

    outcome = {row["id"]: row["outcome"] for row in found}
    acked = [one for slot in slots for one in slot.acked]
    executed = device.read_text().split()
    left = sorted(path.name for path in spool.iterdir() if path.name != "id")
    result = {
        "kills": options.kills,
        "kills_per_second": round(options.kills / seconds, 1),
        "acknowledged": len(acked),
        "executed": len(executed),
        "acknowledged_but_lost": sum(outcome.get(one) != "ok" for one in acked),
        "executed_without_record": sum(outcome.get(one) not in {"ok", "unknown"} for one in executed),
        "doubled": len(found) - len(outcome),
        "still_open": sum(one == "started" for one in outcome.values()),
        "in_doubt": sum(one == "unknown" for one in outcome.values()),
        "refused": sum(one == "refused" for one in outcome.values()),
        "files_left": left,
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
