"""Searching configuration: in what is there now by index, in what ever was by reading."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from infrastructor.errors import ValidationFailed
from infrastructor.ids import uuid7
from infrastructor.snapshot_store import SearchResult
from infrastructor.storage.keys import Keyring
from infrastructor.storage.pool import Database
from infrastructor.storage.search import Search
from infrastructor.storage.snapshots import PostgresSnapshotStore
from tests.fake_snapshots import FakeSnapshots
from tests.support.history import at, gone, saw
from tests.support.postgres import eventually, execute, rows

Lines = list[tuple[str, int, str]]


@pytest.fixture
async def devices(dsn: str) -> list[UUID]:
    found = [uuid7(), uuid7()]
    for number, device in enumerate(found):
        await execute(dsn, "INSERT INTO devices (id, hostname) VALUES ($1, $2)", device, f"host{number}")
    return found


@pytest.fixture
async def real(storage: Database, tmp_path: Path) -> PostgresSnapshotStore:
    return PostgresSnapshotStore(storage, Keyring(storage, tmp_path / "history.keys"))


@pytest.fixture(params=["fake", "real"])
async def store(request: pytest.FixtureRequest, real: PostgresSnapshotStore) -> Any:
    return FakeSnapshots() if request.param == "fake" else real


def lines(result: SearchResult) -> Lines:
    return [(hit.snapshot.path, hit.line_number, hit.line) for hit in result.hits]


async def fill(store: Any, devices: list[UUID]) -> None:
    nas, router = devices
    await store.add(nas, [saw("/srv/compose.yml", "services:\n  db:\n    image: postgres:15\n", 0)])
    await store.add(nas, [saw("/srv/compose.yml", "services:\n  db:\n    image: postgres:16\n", 10)])
    await store.add(nas, [saw("/etc/my.cnf", "[client]\r\nport = 3306\r\npassword = hunter2\r\n", 10)])
    await store.add(nas, [saw("/bin/tool", b"\x7fELF\0 image: postgres:15", 10)])
    await store.add(router, [saw("/etc/100%_sure", "Image: Postgres:15 100%_sure \\d\n", 10)])
    await store.add(router, [saw("/etc/gone", "image: postgres:15\n", 10), gone("/etc/gone", 20)])


async def test_current_texts_are_searched_without_case(store: Any, devices: list[UUID]) -> None:
    await fill(store, devices)
    assert lines(await store.search("IMAGE: postgres")) == [
        ("/srv/compose.yml", 3, "    image: postgres:16"),
        ("/etc/100%_sure", 1, "Image: Postgres:15 100%_sure \\d"),
    ]
    found = await store.search("postgres:16")
    (newest,) = await store.history(device_id=devices[0], path="/srv/compose.yml", limit=1)
    assert found.hits[0].snapshot == newest
    assert (found.complete, found.searched_files) == (True, None)
    assert lines(await store.search("db")) == [("/srv/compose.yml", 2, "  db:")], "shorter than a piece of the index"
    assert lines(await store.search("postgres:15", device_ids=[devices[0]])) == []
    assert lines(await store.search("port =", under="/etc")) == [("/etc/my.cnf", 2, "port = 3306")]
    assert lines(await store.search("port =", under="/srv")) == []


@pytest.mark.parametrize("query", ["100%_sure", "\\d", "%_s"])
async def test_a_text_is_taken_literally(query: str, store: Any, devices: list[UUID]) -> None:
    await fill(store, devices)
    assert [hit.snapshot.path for hit in (await store.search(query)).hits] == ["/etc/100%_sure"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"postgres:1[0-9]$", ["/srv/compose.yml"]),
        (r"^\s*image: post(gres|man):\d+", ["/srv/compose.yml", "/etc/100%_sure"]),
        (r"^port", ["/etc/my.cnf"]),
        (r"db:|3306", ["/etc/my.cnf", "/srv/compose.yml"]),
        (r"ports?\b", ["/etc/my.cnf"]),
        (r"services:.*image", []),
    ],
)
@pytest.mark.parametrize("ever", [False, True])
async def test_a_regular_expression_sees_one_line_at_a_time(
    pattern: str, expected: list[str], ever: bool, store: Any, devices: list[UUID]
) -> None:
    await fill(store, devices)
    if isinstance(store, PostgresSnapshotStore):
        pattern = pattern.replace(r"\b", r"\y")  # as PostgreSQL writes it
    found = {hit.snapshot.path for hit in (await store.search(pattern, regex=True, ever=ever)).hits}
    assert found - {"/etc/gone"} == set(expected)


async def test_every_version_is_searched_when_asked(store: Any, devices: list[UUID]) -> None:
    await fill(store, devices)
    found = await store.search("postgres:15", ever=True)
    assert lines(found) == [
        ("/srv/compose.yml", 3, "    image: postgres:15"),
        ("/etc/100%_sure", 1, "Image: Postgres:15 100%_sure \\d"),
        ("/etc/gone", 1, "image: postgres:15"),
    ]
    assert [hit.snapshot.time for hit in found.hits] == [at(0), at(10), at(10)]
    assert (found.complete, found.searched_files) == (True, 5)
    assert lines(await store.search("postgres:15", ever=True, device_ids=[devices[0]], under="/srv")) == [
        ("/srv/compose.yml", 3, "    image: postgres:15")
    ]


@pytest.mark.parametrize("ever", [False, True])
async def test_secrets_are_neither_found_nor_shown(ever: bool, store: Any, devices: list[UUID]) -> None:
    await fill(store, devices)
    assert lines(await store.search("hunter2", ever=ever)) == []
    assert lines(await store.search("hunter.", regex=True, ever=ever)) == []
    (hit,) = (await store.search("password", ever=ever)).hits
    assert hit.line == "password = ‹masked›"


@pytest.mark.parametrize("ever", [False, True])
async def test_more_than_the_limit_is_said(ever: bool, store: Any, devices: list[UUID]) -> None:
    await store.add(devices[0], [saw(f"/etc/{n:02}", f"option = a\noption = {n}\n", 0) for n in range(30)])
    some = await store.search("option", limit=7, ever=ever)
    assert (len(some.hits), some.complete) == (7, False)
    every = await store.search("option", limit=60, ever=ever)
    assert (len(every.hits), every.complete) == (60, True)


@pytest.mark.parametrize(
    ("query", "regex"),
    [("", False), ("a\nb", False), ("(", True), ("a{1,9}{9", True), ("***=x", True), ("(?i)x", True)],
)
async def test_what_is_no_question_is_refused(query: str, regex: bool, real: PostgresSnapshotStore) -> None:
    with pytest.raises(ValidationFailed):
        await real.search(query, regex=regex)


async def test_a_search_that_takes_too_long_ends(
    storage: Database, real: PostgresSnapshotStore, devices: list[UUID]
) -> None:
    text = "".join(f"line {n} of many\n" for n in range(30_000))
    await real.add(devices[0], [saw(f"/etc/{n}", text + str(n), 0) for n in range(5)])
    short = Search(storage, real._contents, max_seconds=0.001)
    with pytest.raises(ValidationFailed, match="took longer"):
        await short.search(r"(.*)(.*)(.*)x\1\2\3$", regex=True)
    found = await Search(storage, real._contents, max_seconds=0).search("of many", ever=True)
    assert (found.complete, found.searched_files) == (False, 0)


async def test_the_index_is_used(real: PostgresSnapshotStore, devices: list[UUID], dsn: str) -> None:
    versions = [saw(f"/etc/{n}", f"key_{uuid7().hex} = {n}\n" * 9, 0) for n in range(1000)]
    await real.add(devices[0], [*versions, saw("/etc/one", "needle_in_it\n", 0)])
    used = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'idx_configuration_texts_grams'"
    await execute(dsn, "ANALYZE configuration_texts")
    assert lines(await real.search("needle_in")) == [("/etc/one", 1, "needle_in_it")]
    assert lines(await real.search("^needle_.n", regex=True)) == [("/etc/one", 1, "needle_in_it")]

    async def counted() -> bool:
        return bool((await rows(dsn, used))[0][0] == 2)

    await eventually(counted)
