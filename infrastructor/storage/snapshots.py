"""`SnapshotStore`: versions of files, for ever."""

import asyncio
import logging
import re
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from infrastructor.errors import DatabaseOperationError
from infrastructor.formats import semantic
from infrastructor.snapshot_store import BlindTime, Change, Head, Holding, Signature, Snapshot, Version
from infrastructor.storage import sql
from infrastructor.storage.contents import Contents, Plan, Wanted, in_thread
from infrastructor.storage.expected import ExpectedWrites
from infrastructor.storage.keeping import arguments, gap_event, snapshot_of, text_of
from infrastructor.storage.keys import Keyring
from infrastructor.storage.meaning import Classify, classes_of, compared_bytes
from infrastructor.storage.pool import Database, sqlstate_of
from infrastructor.storage.rows import bits_of, head, known_of, snapshot, state_in
from infrastructor.storage.search import Search
from infrastructor.storage.versions import Changes, Kept, Seen, State, changes, path_key, seen, storable

logger = logging.getLogger(__name__)

_RAW = sql.load("snapshots")
SQL = {name: text.replace("{snapshot}", _RAW["snapshot"].partition("\n")[2]) for name, text in _RAW.items()}
PATIENCE_S, BYTES_A_SECOND, VERSIONS_A_SECOND = 5.0, 1 << 20, 100  # of a machine that is slow
TRIES = 30  # others may add versions of the same files, or contents of the same hash, at the same time
PAUSE_S = 0.01
SLOWER = 16  # than compressing it is to compare by meaning
AHEAD = 2  # parts of a fleet that are looked for at the same time
DEVICES_AT_ONCE = 10  # of a fleet that are asked for together
YIELD_EVERY = 500  # rows made into snapshots before others may run
_MOVED_ON, _NEW_KEY = "IF001", "IF002"
_HASH = re.compile("[0-9a-f]{64}")
_AGAIN = (_MOVED_ON, _NEW_KEY, "40P01", "23505", "23P01")  # also a deadlock, and a row that came meanwhile


class PostgresSnapshotStore:
    """Over `configuration_files`, `_versions`, `_contents` and `_texts`; see migration 0008."""

    def __init__(self, database: Database, keys: Keyring, classify: Classify = semantic.classes) -> None:
        self._database = database
        self._contents = Contents(database, keys)
        self._classify = classify
        self._expected = ExpectedWrites(database)
        self.expect = self._expected.expect
        self.search = Search(database, self._contents).search
        self._counts: Counter[str] = Counter(kept=0, refreshed=0, again=0, stored_bytes=0)

    # --- adding --------------------------------------------------------------------------------------

    async def add(self, device_id: UUID, versions: Sequence[Version]) -> Sequence[Snapshot]:
        if not versions:
            return []
        versions = await self._expected.claim(device_id, versions)
        size = sum(len(version.content or b"") for version in versions)
        items = await in_thread(size, lambda: seen(device_id, versions))
        newest_key = False
        for turn in range(TRIES):
            try:
                return await self._add(device_id, items, size, newest_key=newest_key)
            except DatabaseOperationError as error:
                state = sqlstate_of(error)
                if state not in _AGAIN or turn == TRIES - 1:
                    raise
                newest_key = state == _NEW_KEY
                self._counts["again"] += 1
            await asyncio.sleep(PAUSE_S * turn)
        raise AssertionError  # the last turn returns or raises

    async def _add(self, device_id: UUID, items: Sequence[Seen], size: int, *, newest_key: bool) -> Sequence[Snapshot]:
        changed = await self._changes(device_id, items)
        if not changed:
            return []
        kept = [one for file in changed for one in file.kept]
        plan = await self._contents.plan([one for item in kept if (one := _wanted(item))], newest_key=newest_key)
        newest = [file.kept[-1].seen for file in changed if file.kept]
        texts = await in_thread(size, lambda: {item.path_key: text_of(item.version) for item in newest})
        classes = await self._classes(kept, plan)
        timeout = PATIENCE_S + size / BYTES_A_SECOND + len(kept) / VERSIONS_A_SECOND
        values = arguments(changed, plan, texts, classes)
        if not await self._database.fetchval(SQL["keep"], device_id, *values, timeout=timeout):
            return []  # the device was removed meanwhile, and its history with it
        self._count(changed, plan)
        order = {item.id: place for place, item in enumerate(items)}
        kept.sort(key=lambda one: order[one.seen.id])
        return [snapshot_of(device_id, one, classes.get(one.seen.id, ())) for one in kept]

    async def _classes(self, kept: Sequence[Kept], plan: Plan) -> dict[UUID, list[str]]:
        """What the versions change: compared with what compressing them has read, and a content that came back."""
        missing = {one.after for one in kept if one.change is Change.MODIFY and one.after} - plan.raw.keys()
        contents = dict(plan.raw)
        if missing:
            try:
                contents |= await self._contents.read(missing)
            except DatabaseOperationError as error:  # what cannot be read again is no reason to keep nothing more
                logger.warning("Changes are not classified", extra={"reason": error.message})
        size = compared_bytes(kept, contents)
        return await in_thread(size * SLOWER, lambda: classes_of(kept, contents, self._classify))

    async def _changes(self, device_id: UUID, items: Sequence[Seen]) -> list[Changes]:
        rows = await self._database.fetch(SQL["known"], device_id, list({item.path_key for item in items}))
        known = {row["path_key"]: known_of(row) for row in rows}
        stored = await self._database.fetch(SQL["stored"], [item.id for item in items])
        earlier = {
            (item.path_key, item.version.time)
            for item in items
            if item.path_key in known and item.version.time < known[item.path_key].time
        }
        before: dict[tuple[UUID, datetime], State | None] = {}
        if earlier:
            keys, times = zip(*earlier, strict=True)
            rows = await self._database.fetch(SQL["states_at"], device_id, list(keys), list(times))
            before = {(row["path_key"], row["time"]): state_in(row, gone=row["change"] == "d") for row in rows}
        found = changes(items, known, {row["id"] for row in stored}, lambda key, time: before.get((key, time)))
        return [file for file in found if file.changed]

    def _count(self, changed: Sequence[Changes], plan: Plan) -> None:
        self._counts["kept"] += sum(len(file.kept) for file in changed)
        self._counts["refreshed"] += sum(not file.kept for file in changed)
        self._counts["stored_bytes"] += sum(len(row[5] or b"") for row in plan.rows)

    # --- asking --------------------------------------------------------------------------------------

    async def heads(self, device_id: UUID) -> Sequence[Head]:
        return [head(row) for row in await self._database.fetch(SQL["heads"], device_id)]

    async def at(self, device_id: UUID, path: str, time: datetime) -> Snapshot | None:
        row = await self._database.fetchrow(SQL["at"], device_id, path_key(storable(path)), time)
        return None if row is None else snapshot(row)

    async def tree(self, device_id: UUID, time: datetime, under: str = "/") -> Sequence[Snapshot]:
        rows = await self._database.fetch(SQL["tree"], [device_id], time, storable(under))
        return sorted([snapshot(row) for row in rows], key=lambda one: one.path)

    async def fleet(self, time: datetime, device_ids: Collection[UUID] | None = None) -> Sequence[Snapshot]:
        if device_ids is None:
            device_ids = [row["device_id"] for row in await self._database.fetch(SQL["watched_devices"])]
        devices = sorted(device_ids, key=lambda one: one.bytes)
        parts = [devices[start : start + DEVICES_AT_ONCE] for start in range(0, len(devices), DEVICES_AT_ONCE)]
        result: list[Snapshot] = []
        reading = deque(asyncio.ensure_future(self._part(part, time)) for part in parts[:AHEAD])
        try:
            for number in range(len(parts)):
                rows = await reading.popleft()
                if number + AHEAD < len(parts):  # PostgreSQL looks for the next ones while these are made ready
                    reading.append(asyncio.ensure_future(self._part(parts[number + AHEAD], time)))
                found: list[Snapshot] = []
                for start in range(0, len(rows), YIELD_EVERY):
                    await asyncio.sleep(0)
                    found += [snapshot(row) for row in rows[start : start + YIELD_EVERY]]
                found.sort(key=lambda one: (one.device_id.bytes, one.path))
                result += found
        finally:
            for task in reading:
                task.cancel()
        return result

    async def _part(self, devices: Sequence[UUID], time: datetime) -> list[Any]:
        return await self._database.fetch(SQL["tree"], devices, time, "/", timeout=30.0)

    async def find(self, snapshot_id: UUID) -> Snapshot | None:
        row = await self._database.fetchrow(SQL["find"], snapshot_id)
        return None if row is None else snapshot(row)

    async def history(
        self,
        *,
        device_id: UUID | None = None,
        path: str | None = None,
        under: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        about: str | None = None,
        before: UUID | None = None,
        limit: int = 100,
    ) -> Sequence[Snapshot]:
        key = None if path is None else path_key(storable(path))
        folder = None if under is None else storable(under)
        time = None if before is None else await self._database.fetchval(SQL["time_of"], before)
        if before is not None and time is None:
            return []  # its device was removed
        bits = None if about is None else bits_of((about,))
        narrowed = (key, folder, since, until, time, before, limit, bits)
        if device_id is None:
            rows = await self._database.fetch(SQL["history_of_all"], *narrowed)
        else:
            rows = await self._database.fetch(SQL["history_of_files"], device_id, *narrowed)
        return [snapshot(row) for row in rows]

    async def contents(self, hashes: Collection[str], *, sound: bool = False) -> Mapping[str, bytes]:
        found = await self._contents.read({bytes.fromhex(one) for one in hashes if _HASH.fullmatch(one)}, sound=sound)
        return {key.hex(): content for key, content in found.items()}

    # --- where nobody looked -------------------------------------------------------------------------

    async def add_blind(self, device_id: UUID, span: BlindTime) -> None:
        reason = storable(span.reason)
        await self._database.execute(SQL["add_blind"], device_id, span.begin, span.end, reason, gap_event(span))

    async def blind(self, device_id: UUID, since: datetime, until: datetime) -> Sequence[BlindTime]:
        return [BlindTime(**dict(row)) for row in await self._database.fetch(SQL["blind"], device_id, since, until)]

    def statistics(self) -> Mapping[str, Any]:
        return dict(self._counts)


def _wanted(kept: Kept) -> Wanted | None:
    state, version = kept.seen.state, kept.seen.version
    if state is None or state.digest is None:
        return None
    if state.holding is Holding.CONTENT:
        content = version.content or b""
        return Wanted(state.digest, len(content), content, kept.after)
    signature: Signature | None = version.signature
    return Wanted(state.digest, 0 if signature is None else signature.size_bytes)
