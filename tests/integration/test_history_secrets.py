"""Hundreds of secrets in watched files, of every type and written in every way: none leaves by any door.

The files are on a real device, watched by its agent, kept by a real PostgreSQL; asked are all operations that show
what is in files. Neither their answers, the events, the audit nor the log have a secret.
"""

import asyncio
import contextlib
import io
import json
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client

from infrastructor.catalog import CATALOG
from infrastructor.formats.kinds import config_type
from infrastructor.formats.secrets import Masker
from infrastructor.ports.callers import Role
from infrastructor.ports.devices import Device
from infrastructor.snapshot_store import ConfigWatch, History
from infrastructor.ssh import AsyncSSHClient
from infrastructor.storage.baselines import PostgresBaselineStore
from infrastructor.storage.devices import PostgresDeviceRegistry
from infrastructor.storage.events import PostgresEventBus
from infrastructor.storage.keys import Keyring
from infrastructor.storage.pool import Database
from infrastructor.storage.snapshots import PostgresSnapshotStore
from infrastructor.storage.watches import PostgresWatchStore
from infrastructor.watchers.files import RemoteFileWatcher
from infrastructor.watchers.inotify import WatchOptions
from mcp_server.server import create_server
from tests.doors.clients import cli, rest
from tests.doors.world import World
from tests.support.audit import audit_log
from tests.support.history import saw
from tests.support.logged import logged
from tests.support.postgres import rows
from tests.support.sshd import Sshd
from tests.support.wait import until
from tests.unit.formats.planting import Planted, planted

pytestmark = [pytest.mark.xdist_group("file_watchers"), pytest.mark.timeout(300)]
SEEDS = range(6)
LEAST = 500
#: Where a file lies says what it is.
PLACES = {
    "env": "app{}.env",
    "compose": "{}/compose.yml",
    "yaml": "{}.yaml",
    "traefik": "traefik/{}.yml",
    "json": "{}.json",
    "ini": "{}.ini",
    "toml": "{}.toml",
    "nginx": "nginx/conf.d/{}.conf",
    "swag": "swag/nginx/proxy-confs/{}.subdomain.conf",
    "apache": "apache2/{}.conf",
    "text": "{}.txt",
}


@dataclass(frozen=True)
class File:
    """A file with a secret, which is another one later."""

    path: Path
    before: Planted
    later: str

    @property
    def secrets(self) -> tuple[str, str]:
        return self.before.secret, self.later

    def write(self, *, changed: bool) -> None:
        text = self.before.text.replace(self.before.secret, self.later) if changed else self.before.text
        self.path.write_bytes((text + "# more\n" * (changed and self.before.kind != "json")).encode())


def files_in(folder: Path) -> list[File]:
    found = []
    for seed in SEEDS:
        for number, (one, other) in enumerate(zip(planted(seed), planted(seed + 100), strict=True)):
            path = folder / PLACES[one.kind].format(f"s{seed}n{number}")
            path.parent.mkdir(parents=True, exist_ok=True)
            found.append(File(path, one, other.secret))
    return found


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    with logged() as stream:
        yield stream


@dataclass
class Watched:
    """A world over real stores, and its device."""

    world: World
    device: Device
    files: list[File]
    dsn: str


@pytest.fixture
async def watched(
    dsn: str, storage: Database, client: AsyncSSHClient, sshd: Sshd, tmp_path: Path
) -> AsyncIterator[Watched]:
    """All files in two versions, the second one noticed."""
    files = files_in(tmp_path / "files")
    for file in files:
        file.write(changed=False)
    registry, events = PostgresDeviceRegistry(storage), PostgresEventBus(storage)
    await registry.start()
    await events.start()
    device = sshd.device("nas")
    await registry.add(device)
    store = PostgresSnapshotStore(storage, Keyring(storage, tmp_path / "keys" / "history.keys"))
    watch = ConfigWatch(device_id=device.id, path=str(tmp_path / "files"), source="user")
    history = History(
        snapshots=store,
        watches=PostgresWatchStore(storage),
        baselines=PostgresBaselineStore(storage),
        masker=Masker(b"fingerprints of this test"),
    )
    await history.watches.add_watch(watch)
    watcher = RemoteFileWatcher(
        device, ssh=client, store=store, watches=[watch], options=WatchOptions(), connecting=asyncio.Semaphore(1)
    )
    task = asyncio.create_task(watcher.run())
    await until(lambda: store.statistics()["kept"] == len(files), 60)
    for file in files:
        file.write(changed=True)
    await until(lambda: store.statistics()["kept"] == 2 * len(files), 60)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    async with audit_log(dsn, tmp_path / "spool") as audit:
        world = World(
            operations=CATALOG, devices=registry, ssh=client, audit=audit, events=events, history=history  # type: ignore[arg-type]
        )  # fmt: skip
        yield Watched(world, device, files, dsn)
    await events.close()
    await registry.close()


async def over_rest(watched: Watched) -> AsyncIterator[str]:
    """Everything, of every file."""
    some = {file.path for file in random.Random(1).sample(watched.files, 16)}
    async with rest(watched.world, await watched.world.token(Role.OPERATOR)) as http:

        async def get(route: str, **params: Any) -> str:
            reply = await http.get(f"/api/{route}", params=params)
            assert reply.status_code == 200, reply.text
            return reply.text

        for number, file in enumerate(watched.files):
            path = str(file.path)
            yield await get("configs/nas/file", path=path, at="0s", parsed=bool(number % 2))
            yield await get("configs/nas/diff", path=path)
            if file.path in some:
                yield await get("configs/nas/file", path=path)
                yield await get("configs/nas/diff", path=path, old="previous", new="live")
                yield await get("configs/nas/history", path=path)
                body = {"path": path, "version": "previous", "dry_run": True}
                yield (await http.post("/api/configs/nas/restore", json=body)).text
        for ever in (False, True):
            for query in ("q[A-Za-z0-9]{9}", "passw", "token"):
                yield await get("configs/search", query=query, regex=True, ever=ever, limit=200)
        cursor: dict[str, str] = {}
        while True:
            page = await get("changes", device="nas", limit=100, **cursor)
            yield page
            if (following := json.loads(page)["next_cursor"]) is None:
                break
            cursor = {"cursor": following}
        for change in json.loads(page)["changes"][:5]:
            yield await get(f"changes/{change['id']}/explain")
        await http.post("/api/configs/nas/baselines", json={"at": "0s"})
        watched.files[0].write(changed=False)
        yield await get("configs/nas/drift")
        yield await get("events", topic="configs", limit=200)


async def over_mcp(watched: Watched) -> AsyncIterator[str]:
    """Files of every type."""
    async with Client(create_server(watched.world.application(), local_role=Role.OPERATOR)) as mcp:
        for file in watched.files[: len(watched.files) // len(SEEDS) : 3]:
            path = str(file.path)
            for tool in ("config_get", "config_diff", "config_history"):
                yield str(await mcp.call_tool(tool, {"device": "nas", "path": path}))
            yield str(await mcp.read_resource(f"config://nas{path}"))
        yield str(await mcp.read_resource("changes://nas"))


async def over_cli(watched: Watched) -> AsyncIterator[str]:
    """A file of each type, on stores in memory: a command has an event loop of its own, which the others are not of."""
    world = World(operations=CATALOG)
    (device, *_) = await world.devices.all()
    for file in {file.before.kind: file for file in watched.files}.values():
        path = str(file.path)
        texts = (file.before.text, file.before.text.replace(*file.secrets))
        await world.history.snapshots.add(
            device.id, [saw(path, text, at, kind=file.before.kind) for at, text in enumerate(texts)]
        )
        for words in (["get", "--at", "0s"], ["diff"], ["history"], ["get", "--at", "0s", "--json"]):
            ran = await cli(world, "config", words[0], device.hostname, path, *words[1:])
            assert ran.exit_code == 0, ran.stderr
            yield ran.stdout + ran.stderr


async def test_no_planted_secret_is_in_any_answer_event_or_log(watched: Watched, log: io.StringIO) -> None:
    answers: list[str] = []
    for door in (over_rest, over_mcp, over_cli):
        answers += [one async for one in door(watched)]
    kept = [str(dict(row)) for row in await rows(watched.dsn, "SELECT * FROM events")]
    audited = [str(dict(row)) for row in await rows(watched.dsn, "SELECT * FROM data_collection_audit")]
    texts = [str(dict(row)) for row in await rows(watched.dsn, "SELECT * FROM configuration_snapshots")]
    said = "\n".join([*answers, *kept, *audited, *texts, log.getvalue()])
    secrets = {secret for file in watched.files for secret in file.secrets}
    assert len(secrets) >= 2 * LEAST
    shown = [(f.before.kind, f.before.how, secret) for f in watched.files for secret in f.secrets if secret in said]
    assert shown == []
    # And it was not for want of being asked.
    assert said.count("‹masked-") > 3 * LEAST
    assert len(kept) >= 2 * LEAST
    assert len(audited) > 2 * LEAST
    assert "Operation finished" in log.getvalue()
    wrong = {file.before.kind for file in watched.files} - {
        config_type(str(f.path), f.path.read_bytes()) for f in watched.files
    }
    assert wrong == set(), "a type that no file was taken for"
