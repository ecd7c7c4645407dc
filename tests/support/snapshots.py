"""The stores of configuration history over dicts: what watchers need of them, with the same rules."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from infrastructor.errors import DatabaseOperationError
from infrastructor.ids import uuid7
from infrastructor.snapshot_store import (
    BlindTime,
    Change,
    ConfigWatch,
    Head,
    Holding,
    Signature,
    Snapshot,
    Version,
)


@dataclass
class FakeSnapshots:
    """SnapshotStore and WatchStore. `away`: PostgreSQL is not there."""

    away: bool = False
    kept: list[Snapshot] = field(default_factory=list)
    added: list[Version] = field(default_factory=list)  # everything handed over, kept or not
    arrived: dict[str, datetime] = field(default_factory=dict)
    bodies: dict[str, bytes] = field(default_factory=dict)
    spans: list[tuple[UUID, BlindTime]] = field(default_factory=list)
    watched: list[ConfigWatch] = field(default_factory=list)
    heads_of: dict[tuple[UUID, str], tuple[Snapshot, Signature]] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def _check(self) -> None:
        if self.away:
            raise DatabaseOperationError("PostgreSQL is away.")

    async def add(self, device_id: UUID, versions: Sequence[Version]) -> Sequence[Snapshot]:
        self._check()
        assert len({version.path for version in versions}) == len(versions)
        kept = []
        for version in versions:
            self.added.append(version)
            old = self.heads_of.get((device_id, version.path))
            snapshot = _snapshot(device_id, version, old[0] if old else None)
            if version.signature is None:
                self.heads_of.pop((device_id, version.path), None)
            elif snapshot is not None or old is None:
                assert snapshot is not None
                self.heads_of[(device_id, version.path)] = (snapshot, version.signature)
            else:
                self.heads_of[(device_id, version.path)] = (old[0], version.signature)
            if version.content is not None and version.content_hash is not None:
                self.bodies[version.content_hash] = version.content
            if snapshot is not None:
                kept.append(snapshot)
                self.arrived[version.path] = datetime.now(UTC)
        self.kept += kept
        self.news.set()
        return kept

    async def heads(self, device_id: UUID) -> Sequence[Head]:
        self._check()
        return [
            Head(
                path=path,
                signature=signature,
                holding=snapshot.holding,
                content_hash=snapshot.content_hash,
                snapshot_id=snapshot.id,
            )
            for (owner, path), (snapshot, signature) in sorted(self.heads_of.items())
            if owner == device_id
        ]

    async def at(self, device_id: UUID, path: str, time: datetime) -> Snapshot | None:
        found = [one for one in self.kept if one.device_id == device_id and one.path == path and one.time <= time]
        return found[-1] if found else None

    async def tree(self, device_id: UUID, time: datetime, under: str = "/") -> Sequence[Snapshot]:
        paths = sorted({one.path for one in self.kept if one.path.startswith(under)})
        found = [await self.at(device_id, path, time) for path in paths]
        return [one for one in found if one is not None and one.change is not Change.DELETE]

    async def fleet(self, time: datetime, device_ids: Collection[UUID] | None = None) -> Sequence[Snapshot]:
        devices = {one.device_id for one in self.kept} if device_ids is None else device_ids
        return [one for device_id in devices for one in await self.tree(device_id, time)]

    async def find(self, snapshot_id: UUID) -> Snapshot | None:
        return next((one for one in self.kept if one.id == snapshot_id), None)

    async def history(self, *, device_id: UUID | None = None, limit: int = 100, **_: Any) -> Sequence[Snapshot]:
        self._check()
        found = [one for one in self.kept if device_id in {None, one.device_id}]
        return sorted(found, key=lambda one: (one.time, one.id), reverse=True)[:limit]

    async def contents(self, hashes: Collection[str]) -> Mapping[str, bytes]:
        return {one: self.bodies[one] for one in hashes if one in self.bodies}

    async def add_blind(self, device_id: UUID, span: BlindTime) -> None:
        self._check()
        self.spans.append((device_id, span))

    async def blind(self, device_id: UUID, since: datetime, until: datetime) -> Sequence[BlindTime]:
        self._check()
        mine = [span for owner, span in self.spans if owner == device_id]
        return [span for span in mine if span.end >= since and span.begin <= until]

    def statistics(self) -> Mapping[str, Any]:
        return {"snapshots": len(self.kept)}

    # --- WatchStore ----------------------------------------------------------------------------------

    async def watches(self, device_id: UUID | None = None) -> Sequence[ConfigWatch]:
        self._check()
        return [watch for watch in self.watched if device_id in {None, watch.device_id}]

    async def add_watch(self, watch: ConfigWatch) -> bool:
        known = await self.remove_watch(watch.device_id, watch.path, watch.source)
        self.watched.append(watch)
        return not known

    async def remove_watch(self, device_id: UUID, path: str, source: str) -> bool:
        key = (device_id, path, source)
        found = [one for one in self.watched if (one.device_id, one.path, one.source) == key]
        self.watched = [one for one in self.watched if one not in found]
        return bool(found)


def _snapshot(device_id: UUID, version: Version, old: Snapshot | None) -> Snapshot | None:
    """What is kept of a version; None when it says nothing new."""
    signature = version.signature
    if signature is None:
        if old is None:
            return None
        change = Change.DELETE
    else:
        now = (version.holding, version.content_hash, version.target, version.reason)
        attributes = (signature.mode, signature.uid, signature.gid)
        if old is not None and (now, attributes) == (
            (old.holding, old.content_hash, old.target, old.reason),
            (old.mode, old.uid, old.gid),
        ):
            return None
        change = Change.CREATE if old is None else Change.MODIFY
    return Snapshot(
        id=uuid7(),
        device_id=device_id,
        path=version.path,
        time=version.time,
        change=change,
        config_type=version.config_type,
        holding=Holding.NONE if signature is None else version.holding,
        content_hash=version.content_hash,
        size_bytes=signature.size_bytes if signature else None,
        mode=signature.mode if signature else None,
        uid=signature.uid if signature else None,
        gid=signature.gid if signature else None,
        modified_at=None,
        target=version.target,
        reason=version.reason,
    )
