"""What the history of files takes and how fast it answers: `python -m benchmarks.history_store [--snapshots N]`.

Figures come from a fresh embedded PostgreSQL. `--history DIR` replays the configuration files in a git repository's
history through the store (may be given several times; else this repository's own), but for lock files and others
that programs write whole. Then 200 devices with 250 files
each get N snapshots, made in the database, to be asked for any time; and every file a text of its own, to be searched.
"""

import argparse
import asyncio
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import UUID

from benchmarks import report
from benchmarks.goals import Goal, judge_all
from infrastructor.ids import uuid7
from infrastructor.memory import settle
from infrastructor.snapshot_store import Holding, Signature, Version
from infrastructor.storage.keys import Keyring
from infrastructor.storage.pool import Database
from infrastructor.storage.snapshots import PostgresSnapshotStore
from infrastructor.storage.texts import searchable
from tests.support.postgres import TestPostgres, execute

HERE = Path(__file__).resolve().parent.parent
KINDS = ("yml", "yaml", "conf", "sample", "env", "toml", "ini", "json", "cfg", "service")
GENERATED = ("*-lock.*", "*service-templates*.json")  # what programs write whole is no change of a configuration
MAX_BYTES = 1 << 20
DEVICES, FILES = 200, 250
START = datetime(2020, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=1000)
TABLES = ("configuration_versions", "configuration_contents")

GOALS = (
    Goal(title="payload of a real change", figure="replay.ours.payload_bytes", at_most=150, unit=" bytes"),
    Goal(title="a real change with rows and indexes", figure="replay.ours.stored_bytes", at_most=500, unit=" bytes"),
    Goal(title="versions that are not restored byte for byte", figure="replay.ours.wrong", at_most=0),
    Goal(title="file as of T, p99", figure="as_of.file.p99_ms", at_most=20, unit=" ms"),
    Goal(title="device as of T, p99", figure="as_of.device.p99_ms", at_most=50, unit=" ms"),
    Goal(title="fleet as of T, p50", figure="as_of.fleet.p50_ms", at_most=1500, unit=" ms"),
    Goal(title="text in all current files, p99", figure="search.literal.p99_ms", at_most=200, unit=" ms"),
    Goal(title="expression in all current files, p99", figure="search.regex.p99_ms", at_most=200, unit=" ms"),
)

Figures = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapshots", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=DEVICES * FILES, help="texts that are searched")
    parser.add_argument("--history", type=Path, action="append", help="a git repository to replay")
    parser.add_argument("--only", choices=("replay", "as_of", "search"), help="one of the three, and no results kept")
    parser.add_argument("--results", action="store_true", help="write the tables into RESULTS.md")
    options = parser.parse_args()
    figures = asyncio.run(run(options.history or [HERE], options.snapshots, options.files, options.only))
    rows = [[name, f"{median(values):.4g}"] for name, values in figures.items()]
    text = report.table(("figure", "measured"), rows) + "\n" + report.verdict_table(judge_all(figures, GOALS))
    print(text)
    if options.results and not options.only:
        names = ", ".join(sorted(path.resolve().parent.name if path.name == "repo" else path.name
                                 for path in options.history or [HERE]))  # fmt: skip
        command = "## History of files\n\n`python -m benchmarks.history_store --results`"
        head = f"{command}, {options.snapshots:,} snapshots; replayed: {names}.\n\n"
        report.write_results("history_store", head + text)


async def run(histories: list[Path], snapshots: int, files: int, only: str | None) -> Figures:
    folder = Path(tempfile.mkdtemp(prefix="infrastructor-bench-"))
    server = TestPostgres(folder)
    await asyncio.to_thread(server.start)
    settle()  # as the server does once it is warm
    figures: Figures = {}
    try:
        measures = {
            "replay": lambda store, dsn: replay(store, dsn, histories, figures),
            "as_of": lambda store, dsn: as_of(store, dsn, snapshots, figures),
            "search": lambda store, dsn: search(store, dsn, files, figures),
        }
        for measure in [measures[only]] if only else measures.values():
            dsn = await server.database()
            database = await Database.connect(dsn, command_timeout=3600)
            await measure(PostgresSnapshotStore(database, Keyring(database, folder / dsn[-20:-10] / "keys")), dsn)
            await database.close()
    finally:
        await asyncio.to_thread(server.stop)
    return figures


# --- real changes --------------------------------------------------------------------------------------


async def replay(store: PostgresSnapshotStore, dsn: str, histories: list[Path], figures: Figures) -> None:
    expected: dict[UUID, bytes] = {}
    begin = time.perf_counter()
    at = START
    for history in histories:
        device = await new_device(dsn)
        versions = git_versions(history, at)
        while batch := list(itertools.islice(versions, 200)):
            at = batch[-1].time + timedelta(seconds=1)  # time goes on as in a real fleet
            by_time = {(version.path, version.time): version.content for version in batch}
            for kept in await store.add(device, batch):
                if kept.content_hash is not None:
                    expected[kept.id] = by_time[kept.path, kept.time] or b""
    seconds = time.perf_counter() - begin
    database = store._database
    raw = sum(map(len, expected.values()))
    changes = await database.fetchval("SELECT count(*) FROM configuration_versions")
    modified = await database.fetchval("SELECT count(*) FROM configuration_versions WHERE change = 'm'")
    payload = """
        SELECT sum(octet_length(body)) FROM configuration_contents WHERE id IN (
            SELECT content FROM configuration_versions GROUP BY content HAVING bool_and(change = 'm'))"""
    stored = sum([await database.fetchval(f"SELECT pg_total_relation_size('{table}')") for table in TABLES])
    every = await database.fetchval("SELECT sum(octet_length(body)) FROM configuration_contents")
    figures["replay.ours.versions"] = [changes]
    figures["replay.ours.modified"] = [modified]
    figures["replay.ours.raw_bytes"] = [raw / len(expected)]
    figures["replay.ours.payload_bytes"] = [await database.fetchval(payload) / modified]
    figures["replay.ours.payload_with_first_versions_bytes"] = [every / changes]
    figures["replay.ours.stored_bytes"] = [stored / changes]
    files = "SELECT pg_total_relation_size('configuration_files') / count(*) FROM configuration_files"
    figures["replay.ours.bytes_a_file"] = [await database.fetchval(files)]
    texts = "SELECT pg_total_relation_size('configuration_texts') / count(*) FROM configuration_texts"
    figures["replay.ours.texts_bytes_a_file"] = [await database.fetchval(texts)]
    figures["replay.ours.added_a_second"] = [changes / seconds]
    figures["replay.ours.wrong"] = [await wrong(store, expected)]


async def wrong(store: PostgresSnapshotStore, expected: dict[UUID, bytes]) -> int:
    """Versions that do not read as they were."""
    count, before = len(expected), None
    while page := await store.history(before=before, limit=1000):
        before = page[-1].id
        found = await store.contents({one.content_hash for one in page if one.content_hash})
        count -= sum(found[one.content_hash] == expected[one.id] for one in page if one.content_hash)
    return count


def git_versions(folder: Path, begin: datetime) -> Iterator[Version]:
    """Every version of every configuration file in a repository's history, oldest first, one a second from `begin`."""
    git = ("git", "-C", str(folder))
    patterns = [*(f"*.{kind}" for kind in KINDS), *(f":(exclude){name}" for name in GENERATED)]
    log = subprocess.run(
        [*git, "log", "--reverse", "--raw", "--no-renames", "--no-abbrev", "--format=", "HEAD", "--", *patterns],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    with subprocess.Popen([*git, "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as blobs:
        for number, line in enumerate(log.splitlines()):
            fields, path = line.split("\t", 1)
            mode, blob = fields.split()[1], fields.split()[3]
            at = begin + timedelta(seconds=number)
            if not int(blob, 16):
                yield Version(path=f"/{path}", time=at, config_type="text", signature=None)
            elif mode.startswith("100"):
                content = read_blob(blobs, blob)
                if content is not None and len(content) <= MAX_BYTES:
                    yield version(f"/{path}", at, content, int(mode, 8))
        assert blobs.stdin is not None
        blobs.stdin.close()


def read_blob(blobs: "subprocess.Popen[bytes]", name: str) -> bytes | None:
    assert blobs.stdin is not None
    assert blobs.stdout is not None
    blobs.stdin.write(f"{name}\n".encode())
    blobs.stdin.flush()
    head = blobs.stdout.readline().split()
    if head[1] == b"missing":
        return None
    content = blobs.stdout.read(int(head[2]))
    blobs.stdout.read(1)
    return content


def version(path: str, at: datetime, content: bytes, mode: int = 0o100644) -> Version:
    stamp = int(at.timestamp()) * 10**9
    signature = Signature(inode=1, size_bytes=len(content), mtime_ns=stamp, ctime_ns=stamp, mode=mode, uid=0, gid=0)
    return Version(
        path=path, time=at, config_type="text", signature=signature, holding=Holding.CONTENT, content=content
    )


async def new_device(dsn: str) -> UUID:
    device = uuid7()
    await execute(dsn, "INSERT INTO devices (id, hostname) VALUES ($1, $2)", device, f"host{device.int}")
    return device


# --- as of T -------------------------------------------------------------------------------------------

FILL = (
    "INSERT INTO configuration_keys (id, fingerprint) VALUES (1, '')",
    "INSERT INTO devices (id, hostname) SELECT gen_random_uuid(), 'host' || n FROM generate_series(1, {devices}) AS n",
    """
    INSERT INTO configuration_files (device_id, path_key, path, config_type, head_id, head_time, gone)
    SELECT devices.id, substr(encode(sha256(convert_to('/etc/app' || n || '/config.yml', 'UTF8')), 'hex'), 1, 32)::uuid,
           '/etc/app' || n || '/config.yml', 'text', gen_random_uuid(), now(), false
    FROM devices, generate_series(1, {files}) AS n
    """,
    "ALTER TABLE configuration_versions DROP CONSTRAINT configuration_versions_pkey",
    "ALTER TABLE configuration_versions DROP CONSTRAINT configuration_versions_file_fkey",
    "DROP INDEX idx_configuration_snapshots_id, idx_configuration_snapshots_time, idx_configuration_snapshots_hash",
    "ALTER TABLE configuration_contents DROP CONSTRAINT configuration_contents_hash_key",
    """
    INSERT INTO configuration_contents (size_bytes, depth, key, hash, body)
    SELECT 2000, 0, 1, decode(md5(n::text) || md5('-' || n), 'hex'), decode(repeat(md5(n::text), 7), 'hex')
    FROM generate_series(1, {snapshots}) AS n
    """,
    # In the order of time, as watchers bring them: the rows of one file lie far apart.
    """
    INSERT INTO configuration_versions (time, mtime_ns, id, file, content, mode, uid, gid, change, holding, config_type)
    SELECT '{start}'::timestamptz + interval '{span} seconds' * (n::float8 / {snapshots}), 0, gen_random_uuid(),
           1 + (n * 7919::bigint) % {all_files}, n, 33188, 0, 0, 'm', 'c', 'text'
    FROM generate_series(1, {snapshots}) AS n
    """,
    "CREATE INDEX configuration_contents_hash_key ON configuration_contents USING HASH (hash)",
    "ALTER TABLE configuration_versions ADD PRIMARY KEY (file, time)",
    "CREATE UNIQUE INDEX idx_configuration_snapshots_id ON configuration_versions (id)",
    "CREATE INDEX idx_configuration_snapshots_time ON configuration_versions (time)",
    "CREATE INDEX idx_configuration_snapshots_hash ON configuration_versions "
    "USING BRIN (content int4_minmax_multi_ops) WITH (pages_per_range = 16)",
    "VACUUM ANALYZE configuration_versions",
    "VACUUM ANALYZE configuration_contents",
    "VACUUM ANALYZE configuration_files",
)


async def as_of(store: PostgresSnapshotStore, dsn: str, snapshots: int, figures: Figures) -> None:
    names = {
        "devices": DEVICES, "files": FILES, "all_files": DEVICES * FILES, "snapshots": snapshots,
        "start": START.isoformat(), "span": int(SPAN.total_seconds()),
    }  # fmt: skip
    for statement in FILL:
        await store._database.execute(statement.format(**names))
    devices = [row["id"] for row in await store._database.fetch("SELECT id FROM devices")]

    async def file() -> None:
        await store.at(random.choice(devices), f"/etc/app{random.randint(1, FILES)}/config.yml", any_time())

    async def device() -> None:
        assert len(await store.tree(random.choice(devices), any_time())) == FILES

    async def fleet() -> None:
        assert len(await store.fleet(any_time())) == DEVICES * FILES

    async def of_file() -> None:
        path = f"/etc/app{random.randint(1, FILES)}/config.yml"
        await store.history(device_id=random.choice(devices), path=path, limit=50)

    async def of_device() -> None:
        assert len(await store.history(device_id=random.choice(devices), limit=100)) == 100

    async def of_all() -> None:
        assert len(await store.history(until=any_time(), limit=100)) == 100

    for name, work, times in (
        ("file", file, 1000), ("device", device, 200), ("fleet", fleet, 5), ("file_history", of_file, 300),
        ("device_history", of_device, 100), ("fleet_history", of_all, 300),
    ):  # fmt: skip
        await timed(f"as_of.{name}", work, times, figures)
    size = await store._database.fetchval("SELECT pg_database_size(current_database())")
    figures["as_of.database.mb"] = [size / 1e6]


def any_time() -> datetime:
    """Somewhere in the second half, when every file is there."""
    return START + SPAN * random.uniform(0.5, 1)


# --- search --------------------------------------------------------------------------------------------


async def search(store: PostgresSnapshotStore, dsn: str, files: int, figures: Figures) -> None:
    names = {"devices": DEVICES, "files": -(-files // DEVICES)}
    for statement in FILL[1:3]:
        await store._database.execute(statement.format(**names))
    await store._database.execute(
        """
        INSERT INTO configuration_versions (time, id, file, mode, uid, gid, change, holding, config_type)
        SELECT head_time, head_id, id, 33188, 0, 0, 'c', 'c', 'text' FROM configuration_files
        """
    )
    numbers = await store._database.fetch("SELECT id FROM configuration_files ORDER BY id LIMIT $1", files)
    await store._database.execute("DROP INDEX idx_configuration_texts_grams")
    texts = [path.read_text(errors="ignore") for path in sample_texts()]
    for start in range(0, files, 1000):
        rows: list[tuple[Any, ...]] = []
        for row in numbers[start : start + 1000]:
            found = searchable(own_text(texts, row["id"]).encode())
            assert found is not None
            rows.append((row["id"], found.text, [int(gram) for gram in found.grams.strip("{}").split(",")]))
        await store._database.copy("configuration_texts", ("file", "text", "grams"), rows)
    await store._database.execute("CREATE INDEX idx_configuration_texts_grams ON configuration_texts USING GIN (grams)")
    await store._database.execute("VACUUM ANALYZE configuration_texts")
    figures["search.texts.mean_bytes"] = [
        await store._database.fetchval("SELECT avg(octet_length(text))::float8 FROM configuration_texts")
    ]
    size = await store._database.fetchval("SELECT pg_total_relation_size('configuration_texts')")
    figures["search.texts.stored_bytes_a_file"] = [size / files]

    async def rare(regex: bool) -> None:
        number = random.randint(1, files)
        query = f"app{number}\\.example\\.(org|com)" if regex else f"APP{number}.example.org"
        assert (await store.search(query, regex=regex)).hits

    async def common(regex: bool) -> None:
        assert len((await store.search("image: .*:15" if regex else "postgres:15", regex=regex)).hits) > 0

    for name, regex in (("literal", False), ("regex", True)):
        await timed(f"search.{name}", lambda regex=regex: rare(regex), 50, figures)  # type: ignore[misc]
        await timed(f"search.{name}_in_many", lambda regex=regex: common(regex), 20, figures)  # type: ignore[misc]
    await timed("search.nothing", lambda: store.search("zzqx-not-there"), 20, figures)
    await timed("search.two_letters", lambda: store.search("zq~"[:2]), 3, figures)


def sample_texts() -> list[Path]:
    """Configuration that is here: of this repository and of the system."""
    found = [path for kind in KINDS for root in (HERE / "docker", HERE / "tests") for path in root.rglob(f"*.{kind}")]
    found += [path for path in Path("/etc").rglob("*.conf") if path.is_file()]
    small = [path for path in sorted(set(found)) if 200 < path.stat().st_size < 8000]
    return small[:200]


def own_text(texts: list[str], number: int) -> str:
    """A text like others, with lines of its own."""
    lines = texts[number % len(texts)].splitlines()
    image = random.choice(("postgres:15", "postgres:16", "redis:7", "nginx:1.27", "grafana:11"))
    own = [f"server_name app{number}.example.org;", f"    image: {image}", f"port = {number}", f"id = {uuid7()}"]
    place = number % (len(lines) + 1)
    return "\n".join([*lines[:place], *own, *lines[place:]])


async def timed(name: str, work: Callable[[], Awaitable[Any]], times: int, figures: Figures) -> None:
    await work()
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        await work()
        took.append((time.perf_counter() - begin) * 1000)
    figures[f"{name}.p50_ms"] = [median(took)]
    figures[f"{name}.p99_ms"] = [quantiles(took, n=100, method="inclusive")[98]]


if __name__ == "__main__":
    sys.exit(main())
