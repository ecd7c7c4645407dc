"""Versions of files: what is kept of what a watcher saw, and what is answered for any time."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infrastructor.errors import DeviceNotFound
from infrastructor.events import Event, Severity
from infrastructor.ids import uuid7
from infrastructor.operation import ChangedBy
from infrastructor.snapshot_store import BlindTime, Change, ConfigWatch, Holding, Snapshot, Version
from infrastructor.storage import snapshots
from infrastructor.storage.keys import Keyring
from infrastructor.storage.pool import Database
from infrastructor.storage.snapshots import PostgresSnapshotStore
from infrastructor.storage.sweep import sweep
from infrastructor.storage.watches import PostgresWatchStore
from tests.fake_snapshots import FakeSnapshots, FakeWatches
from tests.support.history import at, gone, saw, signature
from tests.support.postgres import execute, rows

BYTE_EXACT = [
    b"",
    b"\0",
    b"one line, no end",
    b"dos\r\nlines\r\n",
    b"mixed\r\n\n\r",
    b"\xff\xfe\x00latin \xe4",
    "umlaut ä, emoji 🐳\n".encode(),
    bytes(range(256)) * 64,
]


async def new_device(dsn: str, hostname: str = "nas") -> UUID:
    device_id = uuid7()
    await execute(dsn, "INSERT INTO devices (id, hostname) VALUES ($1, $2)", device_id, hostname)
    return device_id


@pytest.fixture
async def device(dsn: str) -> UUID:
    return await new_device(dsn)


@pytest.fixture
async def real(storage: Database, tmp_path: Path) -> PostgresSnapshotStore:
    return PostgresSnapshotStore(storage, Keyring(storage, tmp_path / "history.keys"))


@pytest.fixture(params=["fake", "real"])
async def store(request: pytest.FixtureRequest, real: PostgresSnapshotStore) -> Any:
    return FakeSnapshots() if request.param == "fake" else real


def told(snapshots: Any) -> list[tuple[str, str]]:
    return [(one.path, one.change.value) for one in snapshots]


# --- what the real one and the fake have in common -----------------------------------------------------


async def test_only_what_differs_is_kept(store: Any, device: UUID) -> None:
    first = await store.add(device, [saw("/etc/a", "1", 0, kind="ini"), saw("/etc/b", "2", 1)])
    assert told(first) == [("/etc/a", "CREATE"), ("/etc/b", "CREATE")]
    assert await store.add(device, [saw("/etc/a", "1", 5, inode=99)]) == []
    (head, _) = await store.heads(device)
    assert (head.signature, head.snapshot_id) == (signature(5, size_bytes=1, inode=99), first[0].id)
    changed = await store.add(
        device, [saw("/etc/a", "1!", 6), saw("/etc/a", "1!", 7, mode=0o100600), gone("/etc/b", 8)]
    )
    assert told(changed) == [("/etc/a", "MODIFY"), ("/etc/a", "MODIFY"), ("/etc/b", "DELETE")]
    assert [one.path for one in await store.heads(device)] == ["/etc/a"]
    assert await store.add(device, [gone("/etc/b", 9), gone("/etc/never", 9)]) == []
    assert told(await store.add(device, [saw("/etc/b", "2", 10)])) == [("/etc/b", "CREATE")]
    deleted = await store.at(device, "/etc/b", at(9))
    assert deleted is not None
    assert (deleted.change, deleted.content_hash, deleted.mode) == (Change.DELETE, None, None)


async def test_a_version_reads_as_it_was_added(store: Any, device: UUID) -> None:
    operation = uuid7()
    seen = [
        saw("/etc/a", "x", 0, kind="nginx", mode=0o100640, uid=2**32 - 2, gid=5, operation_id=operation),
        Version(
            path="/etc/link", time=at(1), config_type="text", signature=signature(1),
            holding=Holding.LINK, target="../a",
        ),
        Version(
            path="/etc/big", time=at(2), config_type="json", signature=signature(2, size_bytes=2**40),
            holding=Holding.DIGEST, content_hash="ab" * 32,
        ),
        Version(path="/etc/shadow", time=at(3), config_type="text", signature=signature(3), reason="permission denied"),
    ]  # fmt: skip
    kept = await store.add(device, seen)
    for one in kept:
        assert await store.find(one.id) == one
    file, link, big, shadow = kept
    assert (file.config_type, file.mode, file.uid, file.gid) == ("nginx", 0o100640, 2**32 - 2, 5)
    assert (file.size_bytes, file.modified_at, file.operation_id) == (1, at(0), operation)
    assert (link.holding, link.target, link.content_hash) == (Holding.LINK, "../a", None)
    assert (big.holding, big.size_bytes, big.content_hash) == (Holding.DIGEST, 2**40, "ab" * 32)
    assert (shadow.holding, shadow.reason) == (Holding.NONE, "permission denied")
    assert await store.contents(["ab" * 32, file.content_hash]) == {file.content_hash: b"x"}
    assert await store.find(uuid7()) is None


async def test_names_that_are_no_utf8_come_back(store: Any, device: UUID) -> None:
    path = b"/etc/caf\xe9".decode("utf-8", "surrogateescape")
    (kept,) = await store.add(device, [saw(path, "x", 0)])
    assert kept.path == path
    assert [one.path for one in await store.heads(device)] == [path]
    assert await store.at(device, path, at(1)) == kept
    assert await store.tree(device, at(1), "/etc") == [kept]


async def test_the_longest_name_linux_knows_is_kept(store: Any, device: UUID) -> None:
    path = "/" + "/".join(uuid7().hex * 7 for _ in range(18))
    await store.add(device, [saw(path, "x", 0), saw(path[:-1], "y", 0)])
    assert {one.path for one in await store.tree(device, at(1))} == {path, path[:-1]}


async def test_what_was_there_at_a_time(store: Any, device: UUID) -> None:
    await store.add(device, [saw("/a/x", "1", 0), saw("/a/y", "1", 10), saw("/ab", "1", 10)])
    await store.add(device, [saw("/a/x", "2", 20), gone("/a/y", 30)])
    assert await store.at(device, "/a/x", at(-1)) is None
    assert [(await store.at(device, "/a/x", at(second))).time for second in (0, 19, 20)] == [at(0), at(0), at(20)]
    assert [one.path for one in await store.tree(device, at(15))] == ["/a/x", "/a/y", "/ab"]
    assert [one.path for one in await store.tree(device, at(15), "/a")] == ["/a/x", "/a/y"]
    assert [one.path for one in await store.tree(device, at(15), "/a/")] == ["/a/x", "/a/y"]
    assert [one.path for one in await store.tree(device, at(30))] == ["/a/x", "/ab"]
    assert await store.tree(device, at(-1)) == []


async def test_the_fleet_at_a_time(store: Any, device: UUID, dsn: str) -> None:
    other = await new_device(dsn, "other")
    await store.add(device, [saw("/a", "1", 0), saw("/b", "1", 0)])
    await store.add(other, [saw("/a", "2", 5)])
    assert [(one.device_id, one.path) for one in await store.fleet(at(9))] == [
        (device, "/a"), (device, "/b"), (other, "/a"),
    ]  # fmt: skip
    assert [one.path for one in await store.fleet(at(9), [other])] == ["/a"]
    assert await store.fleet(at(4), [other]) == []


async def test_a_large_fleet_at_a_time_is_read_in_parts(store: Any, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "DEVICES_AT_ONCE", 2)
    devices = sorted([await new_device(dsn, f"part{number}") for number in range(9)], key=lambda one: one.int)
    for device in reversed(devices):
        await store.add(device, [saw("/b", "1", 0), saw("/a", "1", 0)])
    found = await store.fleet(at(9), devices[::-1])
    assert [(one.device_id, one.path) for one in found] == [
        (device, path) for device in devices for path in ("/a", "/b")
    ]


async def test_history_is_told_newest_first_in_pages(store: Any, device: UUID, dsn: str) -> None:
    other = await new_device(dsn, "other")
    for second in range(10):
        await store.add(device, [saw("/etc/a", f"a{second}", second), saw("/etc/b", f"b{second}", second + 0.5)])
        await store.add(other, [saw("/etc/a", f"c{second}", second + 0.25)])
    every = await store.history(limit=100)
    assert [one.time for one in every] == sorted((one.time for one in every), reverse=True)
    assert len(every) == 30
    for narrowed in ({}, {"device_id": device}, {"device_id": device, "path": "/etc/a"}, {"path": "/etc/a"}):
        whole = await store.history(**narrowed)
        pages: list[Snapshot] = []
        while page := await store.history(**narrowed, before=pages[-1].id if pages else None, limit=7):
            pages += page
        assert pages == whole
    part = await store.history(device_id=device, under="/etc", since=at(3), until=at(5))
    assert [(one.path, one.time) for one in part] == [
        ("/etc/b", at(4.5)), ("/etc/a", at(4)), ("/etc/b", at(3.5)), ("/etc/a", at(3)),
    ]  # fmt: skip
    assert await store.history(device_id=device, under="/var") == []
    assert await store.history(before=uuid7()) == []


async def test_many_of_the_same_moment_are_paged_too(store: Any, device: UUID) -> None:
    await store.add(device, [saw(f"/etc/{n}", str(n), 0) for n in range(40)])
    found: list[Snapshot] = []
    while page := await store.history(before=found[-1].id if found else None, limit=7):
        found += page
    assert len({one.path for one in found}) == len(found) == 40


async def test_added_again_after_a_lost_answer_nothing_is_kept_twice(store: Any, device: UUID) -> None:
    await store.add(device, [saw("/a", "0", 0)])
    batch = [
        saw("/a", "0", 1),
        saw("/a", "1", 2),
        saw("/a", "0", 3),
        saw("/a", "1", 4),
        gone("/b", 4),
        saw("/b", "1", 5),
    ]
    assert len(await store.add(device, batch)) == 4
    assert await store.add(device, batch) == []
    assert await store.add(device, batch[2:]) == []
    assert told(await store.add(device, [*batch, saw("/a", "2", 6)])) == [("/a", "MODIFY")]
    assert len(await store.history()) == 6


async def test_a_clock_that_goes_back_does_not_hide_the_newest_version(store: Any, device: UUID) -> None:
    await store.add(device, [saw("/a", "1", 100)])
    batch = [saw("/a", "2", 50, ctime_ns=2**61), saw("/a", "3", 50, ctime_ns=2**61 + 1), gone("/a", 40)]
    kept = await store.add(device, batch)
    assert [one.time - at(100) for one in kept] == [timedelta(microseconds=n) for n in (1, 2, 3)]
    assert await store.heads(device) == []
    assert await store.add(device, batch) == []


async def test_blind_times_are_told_where_they_touch(store: Any, device: UUID) -> None:
    spans = [BlindTime(begin=at(n), end=at(n + 5), reason="connection lost") for n in (0, 10, 20)]
    for span in (*spans, spans[0]):
        await store.add_blind(device, span)
    assert await store.blind(device, at(4), at(11)) == spans[:2]
    assert await store.blind(device, at(5), at(10)) == []
    assert await store.blind(uuid7(), at(0), at(99)) == []


@pytest.mark.parametrize("kind", ["fake", "real"])
async def test_watches(kind: str, storage: Database, device: UUID) -> None:
    watches: Any = FakeWatches() if kind == "fake" else PostgresWatchStore(storage)
    mine = ConfigWatch(device_id=device, path="/etc", source="user", include=("*.conf",), exclude=("*~",))
    found = ConfigWatch(device_id=device, path="/etc", source="nginx", recursive=False)
    assert [await watches.add_watch(one) for one in (mine, found, replace(mine, include=()))] == [True, True, False]
    assert await watches.watches(device) == [found, replace(mine, include=())]
    assert await watches.watches(uuid7()) == []
    assert [await watches.remove_watch(device, "/etc", "user") for _ in range(2)] == [True, False]
    assert await watches.watches() == [found]


# --- what changes are about ----------------------------------------------------------------------------

COMPOSE = "services:\n  web:\n    image: nginx:1.2\n    ports: [8080:80]\n"


async def test_a_change_is_kept_with_what_it_is_about(store: Any, device: UUID) -> None:
    later = COMPOSE.replace("1.2", "1.3").replace("8080", "8081")
    texts = [COMPOSE, "# why\n" + COMPOSE, later, COMPOSE, b"\0", b"\1\0"]
    versions = [saw("/a", text, second, kind="compose") for second, text in enumerate(texts)]
    for batch in (versions[:2], versions[2:3], versions[3:]):  # compared within a batch, with a stored one, and again
        await store.add(device, batch)
    await store.add(device, [saw("/a", b"\1\0", 6, kind="text", mode=0o100600), gone("/a", 7)])
    found = await store.history(device_id=device)
    assert [(one.change.value, one.classes) for one in reversed(found)] == [
        ("CREATE", ()), ("MODIFY", ("cosmetic",)), ("MODIFY", ("image", "ports")), ("MODIFY", ("image", "ports")),
        ("MODIFY", ("other",)), ("MODIFY", ("other",)), ("MODIFY", ("other",)), ("DELETE", ()),
    ]  # fmt: skip
    for narrowed in ({"device_id": device, "path": "/a"}, {}):
        told_of = [[one.time for one in await store.history(about=about, **narrowed)] for about in ("ports", "other")]
        assert told_of == [[at(3), at(2)], [at(7), at(6), at(5), at(4), at(0)]]


async def test_a_bug_in_comparing_keeps_the_version(
    storage: Database, device: UUID, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(kind: str, before: str, after: str) -> tuple[str, ...]:
        raise RecursionError(kind)

    store = PostgresSnapshotStore(storage, Keyring(storage, tmp_path / "history.keys"), classify=broken)
    kept = await store.add(device, [saw("/a", "1", 0), saw("/a", "2", 1), saw("/a", b"3" * 200_000, 2)])
    assert [(one.change, one.classes) for one in kept] == [
        (Change.CREATE, ()),
        (Change.MODIFY, ()),
        (Change.MODIFY, ()),
    ]
    assert await store.history(device_id=device) == list(reversed(kept))
    assert len(await store.history(device_id=device, about="image")) == 2, "they may be about anything"
    assert caplog.messages == ["A change was not understood"]


# --- byte for byte -------------------------------------------------------------------------------------

pieces = st.sampled_from([*BYTE_EXACT, b"a=1\nb=2\n" * 40, b"x" * 5000]) | st.binary(max_size=200)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(["/a", "/b"]), pieces | st.none()), max_size=60), st.integers(1, 20))
async def test_any_sequence_is_restored_byte_for_byte(
    real: PostgresSnapshotStore, dsn: str, changes: list[tuple[str, bytes | None]], size: int
) -> None:
    """In batches of any size; and asked for any time, the store answers as a list in memory does."""
    device, model = await new_device(dsn, uuid7().hex), FakeSnapshots()
    versions = [
        gone(path, second) if content is None else saw(path, content, second)
        for second, (path, content) in enumerate(changes)
    ]
    for start in range(0, len(versions), size):
        batch = versions[start : start + size]
        assert told(await real.add(device, batch)) == told(await model.add(device, batch))
    hashes = {one.content_hash for one in await model.history(limit=999) if one.content_hash}
    assert await real.contents(hashes) == model.raw
    for second in range(-1, len(changes) + 1):
        expected = [replace(one, id=device) for one in await model.tree(device, at(second))]
        assert [replace(one, id=device) for one in await real.tree(device, at(second))] == expected


async def test_a_long_history_is_read_in_few_steps_and_takes_little(
    real: PostgresSnapshotStore, device: UUID, dsn: str
) -> None:
    lines = [f"option_{n} = {uuid7().hex}" for n in range(40)]
    expected = []
    for n in range(150):
        lines[n % 40] = f"option_{n % 40} = {n}"
        expected.append("\n".join(lines))
    versions = [saw("/a", text, n) for n, text in enumerate(expected)]
    kept = [one for start in range(0, 150, 7) for one in await real.add(device, versions[start : start + 7])]
    found = await real.contents([one.content_hash or "" for one in kept])
    assert [found[one.content_hash or ""].decode() for one in kept] == expected
    ((depth, size),) = await rows(dsn, "SELECT max(depth), avg(octet_length(body)) FROM configuration_contents")
    assert depth == 20
    assert size < 150


async def test_a_mebibyte_that_does_not_compress_is_kept(real: PostgresSnapshotStore, device: UUID) -> None:
    import os

    first = os.urandom(1 << 20)
    second = first[:500_000] + b"changed" + first[500_000:]
    kept = await real.add(device, [saw("/a", first, 0), saw("/a", second, 1)])
    found = await real.contents([one.content_hash or "" for one in kept])
    assert [found[one.content_hash or ""] for one in kept] == [first, second]
    assert real.statistics()["stored_bytes"] < (1 << 20) + 4096


async def test_content_is_kept_once_for_all_files_and_devices(
    real: PostgresSnapshotStore, device: UUID, dsn: str
) -> None:
    other = await new_device(dsn, "other")
    for owner in (device, other):
        await real.add(owner, [saw(f"/{n}", "the same", n) for n in range(10)])
    assert await rows(dsn, "SELECT count(*) FROM configuration_contents") == [(1,)]


async def test_a_digest_becomes_content_when_it_is_sent(real: PostgresSnapshotStore, device: UUID) -> None:
    whole = saw("/a", "big one", 1)
    await real.add(device, [replace(whole, holding=Holding.DIGEST, content=None, time=at(0))])
    (kept,) = await real.add(device, [whole])
    assert await real.contents([kept.content_hash or ""]) == {kept.content_hash: b"big one"}


# --- with events, and without secrets ------------------------------------------------------------------


async def test_each_version_is_an_event_of_the_same_transaction(
    real: PostgresSnapshotStore, device: UUID, dsn: str
) -> None:
    kept = await real.add(device, [saw("/a", "1", 0, kind="compose"), saw("/a", "2", 1), gone("/a", 2)])
    found = await rows(
        dsn, "SELECT id, topic, kind, device, device_id, subject, at, data FROM events ORDER BY sequence"
    )
    assert [tuple(row)[:-1] for row in found] == [
        (one.id, "configs", f"config.{one.change.value.lower()}", "nas", device, "/a", one.time) for one in kept
    ]
    assert '"config_type": "compose"' in found[0]["data"]
    await real.add(device, [saw("/b", "1", 3)])
    await real.add(device, [saw("/b", "1", 3)])
    assert await rows(dsn, "SELECT count(*) FROM events") == [(4,)]


async def test_each_blind_time_is_an_event_of_the_same_transaction(
    real: PostgresSnapshotStore, device: UUID, dsn: str
) -> None:
    span = BlindTime(begin=at(0), end=at(5), reason="connection lost \udcff\0")
    for one in (span, span, BlindTime(begin=at(9), end=at(9), reason="stopped")):
        await real.add_blind(device, one)
    await real.add_blind(uuid7(), span)
    assert [one.end for one in await real.blind(device, at(-1), at(99))] == [at(5), at(9)]
    (found,) = await rows(dsn, "SELECT topic, kind, severity, device, device_id, subject, at, data FROM events")
    assert tuple(found)[:-1] == ("configs", "watch.gap", 20, "nas", device, "configs", at(0))
    data = json.loads(found["data"])
    assert data.pop("reason").startswith("connection lost")
    assert data == {"begin": at(0).isoformat(), "end": at(5).isoformat(), "complete": False}
    gap = Event(**{**dict(found), "id": uuid7(), "severity": Severity.WARNING, "data": data})
    assert ChangedBy(topic="configs", subject="path").may_have_missed(gap)


SECRET = "Hunter2-Tr0ub4dor-Planted"


async def test_a_planted_secret_is_in_no_column(real: PostgresSnapshotStore, device: UUID, dsn: str) -> None:
    text = f"user=me\npassword={SECRET}\nurl=postgres://me:{SECRET}@db/x\nAPI_TOKEN: {SECRET}\nport=1\n"
    await real.add(device, [saw("/a", text, 0)])
    await real.add(device, [saw("/a", text + "more=1\n", 1), saw("/bin", text.encode() + b"\0", 2)])
    tables = await rows(dsn, "SELECT c.oid::regclass::text FROM pg_class c WHERE relkind IN ('r', 'v', 'm', 'p') "
                             "AND relnamespace = 'public'::regnamespace")  # fmt: skip
    assert ("configuration_contents",) in [tuple(row) for row in tables]
    for (table,) in tables:
        for row in await rows(dsn, f"SELECT * FROM {table}"):
            for column, value in dict(row).items():
                raw = value if isinstance(value, bytes) else str(value).encode()
                assert SECRET.encode() not in raw, f"{table}.{column}"
                assert SECRET.encode().hex() not in str(value), f"{table}.{column}"
    ((shown,),) = await rows(dsn, "SELECT raw_content FROM configuration_snapshots WHERE raw_content IS NOT NULL")
    assert "user=me" in shown
    assert "port=1" in shown


async def test_the_founding_columns_are_there(real: PostgresSnapshotStore, device: UUID, dsn: str) -> None:
    (kept,) = await real.add(device, [saw("/a", "x=1\n", 0, kind="ini")])
    (row,) = await rows(
        dsn,
        "SELECT id, device_id, time, config_type, file_path, content_hash, raw_content, parsed_data, change_type, "
        "created_at IS NOT NULL FROM configuration_snapshots",
    )
    assert tuple(row) == (kept.id, device, at(0), "ini", "/a", kept.content_hash, "x=1\n", None, "CREATE", True)


# --- devices that go -----------------------------------------------------------------------------------


async def test_a_device_takes_its_history_with_it(
    real: PostgresSnapshotStore, device: UUID, dsn: str, storage: Database
) -> None:
    other = await new_device(dsn, "other")
    base = "common = 1\n" * 30
    await real.add(device, [saw("/a", base, 0), saw("/a", base + "own", 1), saw("/only", "mine", 1)])
    await real.add(other, [saw("/a", base, 0), saw("/a", base + "own", 1), saw("/a", base + "own2", 2)])
    await execute(dsn, "DELETE FROM devices WHERE id = $1", device)
    assert await real.history() == await real.history(device_id=other)
    assert await real.add(device, [saw("/a", "late", 9)]) == []
    nothing = timedelta(0)
    assert [await sweep(storage, nothing) for _ in range(3)] == [0, 1, 0]
    left = await rows(dsn, "SELECT encode(hash, 'hex') FROM configuration_contents")
    found = await real.contents([row[0] for row in left])
    assert sorted(found.values()) == sorted(text.encode() for text in (base, base + "own", base + "own2"))
    with pytest.raises(DeviceNotFound):
        await PostgresWatchStore(storage).add_watch(ConfigWatch(device_id=device, path="/", source="user"))


async def test_a_content_marked_for_the_sweep_may_be_used_again(
    real: PostgresSnapshotStore, device: UUID, dsn: str, storage: Database
) -> None:
    base = "common = 1\n" * 30
    await real.add(device, [saw("/a", base, 0), saw("/a", base + "own", 1)])
    await execute(dsn, "DELETE FROM devices WHERE id = $1", device)
    await sweep(storage, timedelta(0))
    other = await new_device(dsn, "other")
    (kept,) = await real.add(other, [saw("/a", base + "own", 0)])
    assert await sweep(storage, timedelta(0)) == 0
    assert await real.contents([kept.content_hash or ""]) == {kept.content_hash: (base + "own").encode()}


async def test_a_thousand_versions_are_one_statement(real: PostgresSnapshotStore, device: UUID) -> None:
    async with asyncio.timeout(20):
        kept = await real.add(device, [saw(f"/etc/{n}", f"value = {n}\n" * 20, n) for n in range(1000)])
    assert len(kept) == 1000
    assert len(await real.tree(device, at(2000))) == 1000
