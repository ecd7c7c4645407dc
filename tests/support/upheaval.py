"""Work on a watched tree while connection, agent, server and database are killed; then compare what is stored.

    python -m tests.support.upheaval --data-dir /tmp/up --operations 100000 --kills 300

The server is `infrastructor serve collector`, the device a real sshd on loopback. Prints one JSON object.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from infrastructor.settings import Settings
from infrastructor.snapshot_store import Change, ConfigWatch, Snapshot
from infrastructor.storage.devices import PostgresDeviceRegistry
from infrastructor.storage.keys import Keyring, keys_path
from infrastructor.storage.pool import Database
from infrastructor.storage.snapshots import PostgresSnapshotStore
from infrastructor.storage.watches import PostgresWatchStore
from tests.support.postgres import TestPostgres
from tests.support.sshd import Sshd
from tests.support.tree import Tree
from tests.support.valkey import TestValkey

KINDS = ("connection", "agent", "server", "database")
SETTLED_S = 120.0
PACE_S = 0.004
BACK_S = 20.0  # for the server to be back, and to watch again, before the next kill is meant for it


class Server:
    """`infrastructor serve collector`, again and again."""

    def __init__(self, data_dir: Path, dsn: str, redis_url: str) -> None:
        self._log = (data_dir / "server.log").open("ab")
        self._environment = {
            **os.environ,
            "INFRASTRUCTOR_DATA_DIR": str(data_dir),
            "INFRASTRUCTOR_DATABASE_URL": dsn,
            "INFRASTRUCTOR_REDIS_URL": redis_url,
            "INFRASTRUCTOR_WATCH_CONTAINERS": "false",
            "INFRASTRUCTOR_DISCOVER_CONFIGS": "false",  # the machine's own configuration is none of the tree
            "INFRASTRUCTOR_METRICS_INTERVAL_S": "0",
            "INFRASTRUCTOR_CONTAINERS_INTERVAL_S": "0",
            "INFRASTRUCTOR_DRIVES_INTERVAL_S": "0",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "infrastructor", "serve", "collector"]
        self._process = subprocess.Popen(
            command, env=self._environment, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

    def ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None


def agents(sshd: Sshd) -> list[int]:
    """The watching programs on the device: what runs under its sessions."""
    found, todo = [], sshd.sessions()
    while todo:
        parent = todo.pop()
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                pids = [int(pid) for pid in children.read_text().split()]
                todo += pids
                found += [pid for pid in pids if _program(pid) in {"python3", "perl", "inotifywait"}]
    return found


def harass(tree: Tree, operations: int, kills: list[tuple[int, Callable[[], None]]]) -> None:
    """Do the work; each kill has the number of the operation before which it comes, and runs beside the work."""
    waiting = sorted(kills, key=lambda kill: kill[0])
    running: threading.Thread | None = None
    for number in range(operations):
        while waiting and waiting[0][0] <= number and (running is None or not running.is_alive()):
            running = threading.Thread(target=waiting.pop(0)[1])
            running.start()
        tree.work()
        time.sleep(PACE_S)
    if running is not None:
        running.join()  # two at once would start two servers
    for _, kill in waiting:
        kill()


@asynccontextmanager
async def stores(dsn: str, data_dir: Path) -> AsyncIterator[tuple[Database, PostgresSnapshotStore]]:
    database = await Database.connect(dsn)
    try:
        yield database, PostgresSnapshotStore(database, Keyring(database, keys_path(Settings(data_dir=data_dir))))
    finally:
        await database.close()


async def prepare(dsn: str, data_dir: Path, sshd: Sshd, root: Path) -> UUID:
    async with stores(dsn, data_dir) as (database, _):
        registry = PostgresDeviceRegistry(database)
        await registry.start()
        device = sshd.device("upheaval")
        await registry.add(device)
        await registry.close()
        watch = ConfigWatch(device_id=device.id, path=str(root), source="user", include=("*.conf",))
        await PostgresWatchStore(database).add_watch(watch)
        return device.id


async def compare(dsn: str, data_dir: Path, device_id: UUID, tree: Tree) -> dict[str, Any]:
    """What is stored against what is there, once they agree or time is up; and every version against what was."""
    deadline = time.monotonic() + SETTLED_S
    async with stores(dsn, data_dir) as (_, store):
        while True:
            wanted = tree.now()
            stored = await store.tree(device_id, datetime.now(UTC))
            seen = {one.path: (one.content_hash or "", (one.mode or 0) & 0o7777) for one in stored}
            if seen == wanted or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.25)
        versions = await _every_version(store, device_id)
        contents = await store.contents({one.content_hash for one in versions if one.content_hash})
        return {
            "files": len(wanted),
            "versions": len(versions),
            "wrong": sum(path in seen and seen[path] != is_now for path, is_now in wanted.items()),
            "missing": sum(path not in seen for path in wanted),
            "ghosts": sum(path not in wanted for path in seen),
            "phantoms": _phantoms(versions, tree),
            "contents_lost": sum(one.content_hash not in contents for one in versions if one.content_hash),
            "ghost_paths": sorted(path for path in seen if path not in wanted)[:20],
            "blind_spans": len(await store.blind(device_id, datetime.fromtimestamp(0, UTC), datetime.now(UTC))),
        }


async def _every_version(store: PostgresSnapshotStore, device_id: UUID) -> list[Snapshot]:
    found: list[Snapshot] = []
    while page := await store.history(device_id=device_id, before=found[-1].id if found else None, limit=1000):
        found += page
    return found[::-1]


def _phantoms(versions: list[Snapshot], tree: Tree) -> int:
    """Versions that never were: a content the file never had, the same twice, or an end of what was not there."""
    last: dict[str, Any] = {}
    count = 0
    for one in versions:
        before, now = last.get(one.path), None
        if one.change is not Change.DELETE:
            now = (one.content_hash, one.mode, one.uid, one.gid)
            count += one.content_hash is not None and one.content_hash not in tree.states.get(one.path, ())
        count += now == before or (one.change is Change.CREATE) != (before is None)
        last[one.path] = now
    return count


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable()
    data_dir: Path = options.data_dir
    root = data_dir / "tree"
    tree = Tree(root, options.seed)
    (data_dir / "sshd").mkdir()

    postgres, valkey = TestPostgres(data_dir / "postgres"), TestValkey(data_dir / "valkey")
    postgres.start()
    valkey.start()
    sshd = Sshd(data_dir / "sshd").start()
    dsn = asyncio.run(postgres.database())
    server = Server(data_dir, dsn, valkey.url)
    done: Counter[str] = Counter()
    chance = random.Random(options.seed)

    def kill(kind: str) -> None:
        deadline = time.monotonic() + BACK_S
        while not agents(sshd) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.3))
        if kind == "connection":
            done[kind] += bool(sshd.kill_sessions())
        elif kind == "agent":
            for pid in agents(sshd):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    done[kind] += 1
        elif kind == "server":
            server.kill()
            done[kind] += 1
            server.start()
        else:
            postgres.crash()
            done[kind] += 1
            time.sleep(chance.uniform(0, 1))
            postgres.start()
        if server.ended():  # it does not start without a database
            server.start()

    try:
        device_id = asyncio.run(prepare(dsn, data_dir, sshd, root))
        server.start()
        # Connections and agents come back at once, so most kills are theirs.
        kinds = [chance.choices(KINDS, (5, 4, 2, 1))[0] for _ in range(options.kills)]
        moments = sorted(chance.randrange(options.operations) for _ in kinds)
        started = time.monotonic()
        harass(tree, options.operations, [(at, partial(kill, kind)) for at, kind in zip(moments, kinds, strict=True)])
        seconds = time.monotonic() - started
        if server.ended():
            server.start()
        found = asyncio.run(compare(dsn, data_dir, device_id, tree))
    finally:
        server.kill(signal.SIGTERM)
        sshd.stop()
        valkey.stop()
        postgres.stop()
    print(json.dumps({"operations": tree.operations, "seconds": round(seconds, 1), "kills": dict(done), **found}))
    return 0


def _program(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


if __name__ == "__main__":
    sys.exit(main())
