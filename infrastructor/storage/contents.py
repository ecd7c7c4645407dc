"""Contents by hash: which version each is compressed against, and how it is read again."""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from infrastructor.errors import DatabaseOperationError
from infrastructor.storage import sql
from infrastructor.storage.codec import Key, Unreadable, compress, decompress, seal, unseal
from infrastructor.storage.keys import Keyring
from infrastructor.storage.pool import Database

logger = logging.getLogger(__name__)

SQL = sql.load("contents")
MAX_DEPTH = 20  # of decompressions until a content is read
ON_THE_LOOP_BYTES = 32 << 10  # more than this is compressed and read in a thread
BATCH = 200

T = TypeVar("T")
Digest = bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A row of `configuration_contents` without its body."""

    id: int
    digest: Digest
    depth: int = 0
    has_body: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """A content to keep: `after` is that of the file's version before; `content` None keeps hash and size only."""

    digest: Digest
    size_bytes: int
    content: bytes | None = None
    after: Digest | None = None


@dataclass(slots=True)
class Plan:
    """What `infrastructor_keep_versions` is to insert, column by column, and what must still be there then."""

    sealed_with: int | None = None
    ids: dict[Digest, int] = field(default_factory=dict)
    used: set[int] = field(default_factory=set)
    rows: list[tuple[int, Digest, int | None, int, int, bytes | None]] = field(default_factory=list)
    raw: dict[Digest, bytes] = field(default_factory=dict)  # what was read or is new; not all of it

    def columns(self) -> list[Any]:
        return [list(column) for column in zip(*self.rows, strict=True)] if self.rows else [[]] * 6


def digest(content: bytes) -> Digest:
    return hashlib.sha256(content).digest()


async def in_thread(size_bytes: int, work: Callable[[], T]) -> T:
    """Run work on that many bytes, off the event loop when they are many."""
    return work() if size_bytes <= ON_THE_LOOP_BYTES else await asyncio.to_thread(work)


class Contents:
    """Reads and plans; what is planned is inserted with the versions, in one statement."""

    def __init__(self, database: Database, keys: Keyring) -> None:
        self._database = database
        self._keys = keys

    async def read(self, digests: Collection[Digest], *, sound: bool = False) -> Mapping[Digest, bytes]:
        """Contents by hash; those of which there is no body are left out, with `sound` damaged ones too.

        Raises `DatabaseOperationError`.
        """
        found: dict[Digest, bytes] = {}
        wanted = sorted(digests)
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            chains = await self.chains(batch)
            size = sum(row["size_bytes"] for row in chains.rows)
            found |= await in_thread(size, lambda chains=chains, batch=batch: chains.contents(batch, sound=sound))  # type: ignore[misc]
        return found

    async def chains(self, digests: Collection[Digest]) -> "Chains":
        """These contents and all they are compressed against, sealed."""
        rows = await self._database.fetch(SQL["chains"], list(digests))
        keys = {number: await self._keys.key(number) for number in {row["key"] for row in rows}}
        return Chains(rows, keys)

    async def plan(self, wanted: Sequence[Wanted], *, newest_key: bool = False) -> Plan:
        """How to keep these, in their order. Raises `DatabaseOperationError`."""
        plan = Plan()
        new: dict[Digest, Wanted] = {}
        stored = await self._stored({one.digest for one in wanted} | {one.after for one in wanted if one.after})
        for one in wanted:
            known = stored.get(one.digest)
            if known is not None and (known.has_body or one.content is None):
                plan.ids[one.digest] = known.id
                plan.used.add(known.id)
            elif one.digest not in new or new[one.digest].content is None:
                new[one.digest] = one
        if not new:
            return plan
        plan.ids |= {one: stored[one].id for one in new if one in stored}
        numbers = await self._database.fetchval(SQL["allocate"], len(new))
        plan.ids |= {one: plan.ids.get(one, number) for one, number in zip(new, numbers, strict=True)}
        key = None
        if any(one.content is not None for one in new.values()):
            key = await self._keys.newest(again=newest_key)
            plan.sealed_with = key.number
        bases = {one.after for one in new.values() if one.after in stored and one.content is not None}
        chains = await self.chains([base for base in bases if base is not None])
        size = sum(row["size_bytes"] for row in chains.rows) + sum(len(one.content or b"") for one in new.values())
        await in_thread(size, lambda: _fill(plan, new, stored, chains, key))
        return plan

    async def _stored(self, digests: Collection[Digest]) -> dict[Digest, Stored]:
        rows = await self._database.fetch(SQL["stored"], list(digests)) if digests else []
        return {row["hash"]: Stored(row["id"], row["hash"], row["depth"], row["has_body"]) for row in rows}


class Chains:
    """Sealed contents with everything that reading them needs. Each is read once."""

    def __init__(self, rows: Iterable[Any], keys: Mapping[int, Key]) -> None:
        self.rows = list(rows)
        self._keys = keys
        self._by_id = {row["id"]: row for row in self.rows}
        self._ids = {row["hash"]: row["id"] for row in self.rows}
        self._read: dict[int, bytes] = {}

    def contents(self, digests: Iterable[Digest], *, sound: bool = False) -> dict[Digest, bytes]:
        found = {}
        for one in digests:
            try:
                if one in self._ids:
                    found[one] = self._content(self._ids[one])
            except DatabaseOperationError as error:
                if not sound:
                    raise
                logger.error("A version cannot be read", extra={"reason": error.message})
        return found

    def number(self, content: Digest) -> int:
        number: int = self._ids[content]
        return number

    def root(self, content: Digest) -> Digest:
        """The one that a chain begins with."""
        row = self._by_id[self._ids[content]]
        while row["base"] is not None:
            row = self._by_id[row["base"]]
        root: Digest = row["hash"]
        return root

    def _content(self, number: int) -> bytes:
        todo = [number]
        while (base := self._by_id[todo[-1]]["base"]) is not None and todo[-1] not in self._read:
            todo.append(base)
        content = b""
        for one in reversed(todo):
            if one not in self._read:
                self._read[one] = self._open(self._by_id[one])
            content = self._read[one]
        return content

    def _open(self, row: Any) -> bytes:
        base = None if row["base"] is None else self._read[row["base"]]
        name = row["hash"].hex()
        try:
            body = unseal(self._keys[row["key"]], row["hash"], row["body"])
            content = decompress(body, base, row["size_bytes"])
        except Unreadable as error:
            raise DatabaseOperationError(f"Content {name} is unreadable: {error}.", hint="Restore a backup.") from error
        if digest(content) != row["hash"]:
            raise DatabaseOperationError(f"Content {name} is not what it was.", hint="Restore a backup.")
        return content


def _fill(
    plan: Plan, new: Mapping[Digest, Wanted], stored: Mapping[Digest, Stored], chains: Chains, key: Key | None
) -> None:
    """Compress and seal what is new, each against the one before it in its file.

    A chain that is as long as it may be goes on from its first content instead: in most files that still saves more
    than beginning again.
    """
    raw = plan.raw
    depths: dict[Digest, int] = {}
    roots: dict[Digest, Digest] = {}

    def load(one: Digest) -> bool:
        if one not in raw and one in stored and stored[one].has_body:
            root = chains.root(one)
            try:
                raw.update(chains.contents([one, root]))
            except DatabaseOperationError as error:  # then the new one stands alone
                logger.warning("A new version is kept without the one before it", extra={"reason": error.message})
                return False
            depths.update({one: stored[one].depth, root: 0})
            roots.update({one: root, root: root})
        return one in raw

    for one in new.values():
        if one.content is None or key is None:
            plan.rows.append((plan.ids[one.digest], one.digest, None, 0, one.size_bytes, None))
            continue
        base = one.after
        if base is not None and not load(base):
            base = None
        if base is not None and depths[base] >= MAX_DEPTH:
            base = roots[base]
        body, needs_base = compress(one.content, raw[base] if base is not None else None)
        if not needs_base:
            base = None
        raw[one.digest] = one.content
        depths[one.digest] = 0 if base is None else depths[base] + 1
        roots[one.digest] = one.digest if base is None else roots[base]
        number = plan.ids[one.digest]
        base_number = None
        if base is not None:
            base_number = plan.ids[base] if base in new else chains.number(base)
            if base not in new:
                plan.used.add(base_number)
        sealed = seal(key, one.digest, body)
        plan.rows.append((number, one.digest, base_number, depths[one.digest], one.size_bytes, sealed))
