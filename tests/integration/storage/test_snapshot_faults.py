"""The history of files when two add at once, connections and servers die, and keys change or are lost."""

import asyncio
import random
import stat
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from infrastructor.errors import DatabaseOperationError, HistoryKeyUnavailable
from infrastructor.ids import uuid7
from infrastructor.storage.keys import Keyring
from infrastructor.storage.pool import Database
from infrastructor.storage.rotation import rotate, sealed_with
from infrastructor.storage.snapshots import PostgresSnapshotStore
from tests.support.history import at, gone, saw
from tests.support.postgres import TestPostgres, execute, rows

EVERYTHING = """
    SELECT (SELECT count(*) FROM configuration_files), (SELECT count(*) FROM configuration_versions),
           (SELECT count(*) FROM configuration_contents), (SELECT count(*) FROM configuration_texts),
           (SELECT count(*) FROM events)
"""


@pytest.fixture
async def device(dsn: str) -> UUID:
    device_id = uuid7()
    await execute(dsn, "INSERT INTO devices (id, hostname) VALUES ($1, 'nas')", device_id)
    return device_id


@pytest.fixture
async def other_storage(dsn: str) -> AsyncIterator[Database]:
    database = await Database.connect(dsn)
    yield database
    await database.close()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "history.keys"


@pytest.fixture
def store(storage: Database, key_file: Path) -> PostgresSnapshotStore:
    return PostgresSnapshotStore(storage, Keyring(storage, key_file))


@pytest.fixture
def other(other_storage: Database, key_file: Path) -> PostgresSnapshotStore:
    """What another server has of it."""
    return PostgresSnapshotStore(other_storage, Keyring(other_storage, key_file))


@pytest.fixture
def stores(store: PostgresSnapshotStore, other: PostgresSnapshotStore) -> list[PostgresSnapshotStore]:
    return [store, other]


# --- two at once ---------------------------------------------------------------------------------------


async def test_two_servers_that_see_the_same_keep_it_once(
    store: PostgresSnapshotStore, other: PostgresSnapshotStore, device: UUID, dsn: str
) -> None:
    for turn in range(20):
        batch = [saw(f"/etc/{n}", f"{turn} {n}", turn) for n in range(5)]
        late = [saw(f"/etc/{n}", f"{turn} {n}", turn + 0.3) for n in reversed(range(5))]
        kept = await asyncio.gather(store.add(device, batch), other.add(device, late))
        assert sum(map(len, kept)) == 5, "each change once, whoever was first"
    ((files, versions, contents, _, events),) = await rows(dsn, EVERYTHING)
    assert (files, versions, contents, events) == (5, 100, 100, 100)


async def test_two_servers_add_different_versions_without_losing_any(
    store: PostgresSnapshotStore, other: PostgresSnapshotStore, device: UUID
) -> None:
    async def write(one: PostgresSnapshotStore, name: str) -> None:
        for turn in range(30):
            await one.add(device, [saw("/etc/a", f"{name} {turn}", turn), saw(f"/etc/{name}", "x" * turn, turn)])

    await asyncio.gather(write(store, "first"), write(other, "second"))
    history = await store.history(device_id=device, path="/etc/a", limit=100)
    found = await store.contents([one.content_hash or "" for one in history])
    assert len(found) == len(history) == 60
    assert len({one.time for one in history}) == 60
    (head,) = [one for one in await store.heads(device) if one.path == "/etc/a"]
    assert head.snapshot_id == history[0].id


async def test_what_another_saw_before_is_no_new_version(
    store: PostgresSnapshotStore, other: PostgresSnapshotStore, device: UUID
) -> None:
    """A watcher that is replaced hands in late what its heir found too, and the file has changed since."""
    await store.add(device, [saw("/a", "old", 0)])
    await store.add(device, [saw("/a", "new", 10)])
    assert await other.add(device, [saw("/a", "old", 1, ctime_ns=0)]) == []
    (head,) = await store.heads(device)
    assert head.signature.mtime_ns == saw("/a", "new", 10).signature.mtime_ns  # type: ignore[union-attr]


# --- servers and connections that die ------------------------------------------------------------------


async def test_a_connection_cut_anywhere_keeps_all_or_nothing(
    store: PostgresSnapshotStore, device: UUID, dsn: str
) -> None:
    """The backends of the adding server are killed again and again while it adds."""
    stop = asyncio.Event()

    async def kill() -> None:
        connection = await asyncpg.connect(dsn)
        while not stop.is_set():
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
            )
            await asyncio.sleep(random.uniform(0.01, 0.2))
        await connection.close()

    killer = asyncio.create_task(kill())
    failed = 0
    for turn in range(30):
        batch = [saw(f"/etc/{n}", f"{turn} {n}\n" * 20, turn) for n in range(40)]
        while True:
            try:
                await store.add(device, batch)
                break
            except DatabaseOperationError:
                failed += 1
    stop.set()
    await killer
    assert failed > 0, "nothing was cut: the test shows nothing"
    ((files, versions, contents, texts, events),) = await rows(dsn, EVERYTHING)
    assert (files, versions, contents, texts, events) == (40, 1200, 1200, 40, 1200)


async def test_a_power_loss_keeps_all_or_nothing(own_postgres: TestPostgres, broken_dsn: str, key_file: Path) -> None:
    device = uuid7()
    await execute(broken_dsn, "INSERT INTO devices (id, hostname) VALUES ($1, 'nas')", device)
    database = await Database.connect(broken_dsn)
    store = PostgresSnapshotStore(database, Keyring(database, key_file))
    added: list[int] = []

    async def write() -> None:
        for turn in range(1000):
            await store.add(device, [saw(f"/etc/{n}", f"{turn} {n}", turn) for n in range(20)])
            added.append(turn)

    writing = asyncio.create_task(write())
    while len(added) < 10:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(own_postgres.crash)
    with pytest.raises(DatabaseOperationError):
        await writing
    await asyncio.to_thread(own_postgres.start)
    ((files, versions, contents, texts, events),) = await rows(broken_dsn, EVERYTHING)
    assert (files, texts) == (20, 20)
    assert versions == contents == events
    assert versions in {len(added) * 20, len(added) * 20 + 20}, "what was answered is there, what was not is whole"
    last = len(added)
    await store.add(device, [saw(f"/etc/{n}", f"{last} {n}", last) for n in range(20)])
    history = await store.history(limit=10_000)
    assert len(history) == (last + 1) * 20
    assert len(await store.contents([one.content_hash or "" for one in history])) == (last + 1) * 20
    await database.close()


async def test_a_device_removed_while_its_files_are_added(
    store: PostgresSnapshotStore, storage: Database, dsn: str
) -> None:
    for turn in range(10):
        device = uuid7()
        await execute(dsn, "INSERT INTO devices (id, hostname) VALUES ($1, $2)", device, f"host{turn}")
        await store.add(device, [saw("/a", "0", 0)])
        await asyncio.gather(
            store.add(device, [saw("/a", "1", 1), saw("/b", "1", 1)]),
            execute(dsn, "DELETE FROM devices WHERE id = $1", device),
        )
        assert await store.history(device_id=device) == []
    assert await rows(dsn, "SELECT count(*) FROM configuration_versions") == [(0,)]


# --- keys ----------------------------------------------------------------------------------------------


async def test_the_key_file_is_its_owners_alone(store: PostgresSnapshotStore, device: UUID, key_file: Path) -> None:
    await store.add(device, [saw("/a", "1", 0)])
    assert [mode(one) for one in (key_file, key_file.parent)] == [0o600, 0o700]


FAULTS: dict[str, str | None] = {
    "missing": None,
    "empty": "",
    "another": "1 " + "A" * 43 + "=\n",
    "damaged": "what?\n",
    "cut short": "1 " + "A" * 20 + "\n",
}


def read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def spoil(path: Path, text: str | None) -> str:
    """Put that into its place, and tell what was there."""
    before = read(path) or ""
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text)
    return before


@pytest.mark.parametrize("fault", FAULTS)
async def test_without_the_right_key_nothing_is_written_or_read(
    fault: str, stores: list[PostgresSnapshotStore], device: UUID, dsn: str, key_file: Path
) -> None:
    store, other = stores
    (kept,) = await store.add(device, [saw("/a", "1", 0)])
    right = spoil(key_file, FAULTS[fault])
    spoiled = read(key_file)
    before = await rows(dsn, EVERYTHING)
    for work in (other.add(device, [saw("/a", "2", 1)]), other.contents([kept.content_hash or ""])):
        with pytest.raises(HistoryKeyUnavailable, match=r"history\.keys") as caught:
            await work
        assert "Restore the key file" in caught.value.hint
    assert await rows(dsn, EVERYTHING) == before
    assert read(key_file) == spoiled, "no key was made in its place"
    assert await other.history() == [kept], "what needs no content goes on"
    spoil(key_file, right)
    assert await other.contents([kept.content_hash or ""]) == {kept.content_hash: b"1"}
    assert len(await other.add(device, [saw("/a", "2", 1)])) == 1


async def test_servers_that_start_at_once_make_one_key(
    storage: Database, other_storage: Database, key_file: Path
) -> None:
    found = await asyncio.gather(*(Keyring(one, key_file).newest() for one in (storage, other_storage) * 5))
    assert len({(key.number, key.secret) for key in found}) == 1


async def test_a_server_with_a_key_file_of_its_own_is_refused(
    store: PostgresSnapshotStore, other_storage: Database, device: UUID, tmp_path: Path
) -> None:
    await store.add(device, [saw("/a", "1", 0)])
    stranger = PostgresSnapshotStore(other_storage, Keyring(other_storage, tmp_path / "mine.keys"))
    with pytest.raises(HistoryKeyUnavailable, match="missing or empty"):
        await stranger.add(device, [saw("/b", "2", 0)])
    assert read(tmp_path / "mine.keys") is None


async def test_a_rotation_while_others_add(
    stores: list[PostgresSnapshotStore],
    storage: Database,
    device: UUID,
    key_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, other = stores
    monkeypatch.setattr("infrastructor.storage.rotation.BATCH", 20)
    await store.add(device, [saw(f"/etc/{n}", f"first {n}", 0) for n in range(100)])
    rotating = asyncio.create_task(rotate(storage, Keyring(storage, key_file)))
    turn = 0
    while not rotating.done():
        turn += 1
        for one in (store, other):
            await one.add(device, [saw("/etc/1", f"{turn} {id(one)}", turn), saw(f"/etc/new{turn}", f"{turn}", turn)])
    done = await rotating
    assert (done.key, done.made, done.contents >= 100) == (2, True, True)
    assert set(await sealed_with(storage)) == {2}
    history = await other.history(limit=10_000)
    assert len(await other.contents({one.content_hash or "" for one in history})) == len(
        {one.content_hash for one in history}
    )


async def test_a_rotation_that_was_stopped_is_finished_by_the_next(
    store: PostgresSnapshotStore, storage: Database, device: UUID, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infrastructor.storage.rotation.BATCH", 10)
    kept = await store.add(device, [saw(f"/etc/{n}", f"first {n}", 0) for n in range(50)])

    def stop(count: int) -> None:
        if count >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rotate(storage, Keyring(storage, key_file), stop)
    assert await sealed_with(storage) == {1: 30, 2: 20}
    assert len(await store.contents([one.content_hash or "" for one in kept])) == 50
    done = await rotate(storage, Keyring(storage, key_file))
    assert (done.key, done.made, done.contents) == (2, False, 30)
    assert await sealed_with(storage) == {2: 50}
    assert (await rotate(storage, Keyring(storage, key_file))).key == 3
    assert len(await store.contents([one.content_hash or "" for one in kept])) == 50


async def test_damaged_content_is_an_error_and_never_wrong_bytes(
    store: PostgresSnapshotStore, device: UUID, dsn: str
) -> None:
    kept = await store.add(device, [saw("/a", "first", 0), saw("/b", "other", 0)])
    await execute(
        dsn,
        "UPDATE configuration_contents SET body = (SELECT body FROM configuration_contents WHERE hash = $1)",
        bytes.fromhex(kept[1].content_hash or ""),
    )
    with pytest.raises(DatabaseOperationError, match="unreadable"):
        await store.contents([kept[0].content_hash or ""])
    assert await store.contents([kept[1].content_hash or ""]) == {kept[1].content_hash: b"other"}
    hashes = [one.content_hash or "" for one in kept]
    assert await store.contents(hashes, sound=True) == {hashes[1]: b"other"}
    assert [hit.line for hit in (await store.search("other", ever=True)).hits] == ["other"]
    # What cannot be read again is no reason to keep nothing more.
    (later,) = await store.add(device, [saw("/a", "first, and more of it", 1)])
    assert await store.contents([later.content_hash or ""]) == {later.content_hash: b"first, and more of it"}


async def test_deleted_and_made_again_at_once_is_told_in_order(store: PostgresSnapshotStore, device: UUID) -> None:
    kept: Any = await store.add(device, [saw("/a", "1", 0), gone("/a", 1), saw("/a", "1", 1)])
    assert [one.change.value for one in kept] == ["CREATE", "DELETE", "CREATE"]
    assert kept[2].time - kept[1].time == timedelta(microseconds=1)
    assert await store.at(device, "/a", at(5)) == kept[2]
