"""In-memory twins of the stores of configuration history. The real ones pass the same contract tests."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from infrastructor.errors import DatabaseOperationError
from infrastructor.formats import semantic
from infrastructor.formats.kinds import as_text
from infrastructor.formats.secrets import Masker
from infrastructor.ids import uuid7
from infrastructor.snapshot_store import (
    BlindTime,
    Change,
    ConfigWatch,
    Head,
    Holding,
    SearchHit,
    SearchResult,
    Snapshot,
    Version,
)

TICK = timedelta(microseconds=1)
File = tuple[UUID, str]


class FakeSnapshots:
    """SnapshotStore over lists: every version of a file in order.

    `away`: PostgreSQL is not there. `kept`: all snapshots in order; `stored`: the newest of each path that is there.
    """

    def __init__(self) -> None:
        self.away = False
        self.kept: list[Snapshot] = []
        self.stored: dict[str, Snapshot] = {}
        self.expected: dict[tuple[UUID, str, str], UUID] = {}
        self.files: dict[File, list[tuple[Snapshot, Version]]] = {}
        self.newest: dict[File, Version] = {}  # as last seen, for the signature
        self.raw: dict[str, bytes] = {}
        self.blinds: list[tuple[UUID, BlindTime]] = []
        self.added: set[tuple[UUID, str, datetime, tuple[Any, ...] | None, int]] = set()

    def _check(self) -> None:
        if self.away:
            raise DatabaseOperationError("PostgreSQL is away.")

    async def add(self, device_id: UUID, versions: Sequence[Version]) -> Sequence[Snapshot]:
        self._check()
        versions = [self._claimed(device_id, version) for version in versions]
        again: dict[Any, int] = {}
        names = []
        for version in versions:
            name = (device_id, version.path, version.time, _state(version))
            again[name] = again.get(name, 0) + 1
            names.append((*name, again[name]))
        last = {name[1]: place for place, name in enumerate(names) if name in self.added}
        kept = []
        for place, (version, name) in enumerate(zip(versions, names, strict=True)):
            if place > last.get(version.path, -1) and (snapshot := self._keep(device_id, version)):
                kept.append(snapshot)
                self.added.add(name)
                self.kept.append(snapshot)
                self.stored[snapshot.path] = snapshot
                if snapshot.change is Change.DELETE:
                    del self.stored[snapshot.path]
        return kept

    def _claimed(self, device_id: UUID, version: Version) -> Version:
        ours = self.expected.get((device_id, version.path, _digest(version) or ""))
        return version if ours is None or version.operation_id else replace(version, operation_id=ours)

    def _keep(self, device_id: UUID, version: Version) -> Snapshot | None:
        history = self.files.get((device_id, version.path), [])
        before = _state(history[-1][1]) if history else None
        now = _state(version)
        if now is not None:
            self.newest[device_id, version.path] = version
        if now == before:
            return None
        change = Change.DELETE if now is None else Change.CREATE if before is None else Change.MODIFY
        time = max(version.time, history[-1][0].time + TICK) if history else version.time
        digest = now[1] if now else None
        if version.holding is Holding.CONTENT and digest and now:
            self.raw[digest] = version.content or b""
        signature = version.signature
        snapshot = Snapshot(
            id=uuid7(),
            device_id=device_id,
            path=version.path,
            time=time,
            change=change,
            config_type=version.config_type,
            holding=version.holding if now else Holding.NONE,
            content_hash=digest,
            size_bytes=_size(version),
            mode=signature.mode if signature else None,
            uid=signature.uid if signature else None,
            gid=signature.gid if signature else None,
            modified_at=datetime.fromtimestamp(0, UTC) + timedelta(microseconds=signature.mtime_ns // 1000)
            if signature
            else None,
            target=version.target if now else None,
            reason=version.reason if now and version.holding is Holding.NONE else None,
            classes=_classes(history[-1][1], version) if change is Change.MODIFY else (),
            operation_id=version.operation_id,
        )
        self.files.setdefault((device_id, version.path), []).append((snapshot, version))
        return snapshot

    async def heads(self, device_id: UUID) -> Sequence[Head]:
        self._check()
        found = []
        for (owner, path), history in sorted(
            self.files.items(), key=lambda item: item[0][1].encode("utf-8", "replace")
        ):
            snapshot, _ = history[-1]
            signature = self.newest[owner, path].signature if (owner, path) in self.newest else None
            if owner == device_id and snapshot.change is not Change.DELETE and signature:
                found.append(
                    Head(
                        path=path,
                        signature=signature,
                        holding=snapshot.holding,
                        content_hash=snapshot.content_hash,
                        snapshot_id=snapshot.id,
                    )
                )
        return found

    async def at(self, device_id: UUID, path: str, time: datetime) -> Snapshot | None:
        self._check()
        known = [one for one, _ in self.files.get((device_id, path), []) if one.time <= time]
        return known[-1] if known else None

    async def tree(self, device_id: UUID, time: datetime, under: str = "/") -> Sequence[Snapshot]:
        return [one for one in await self.fleet(time, [device_id]) if _is_under(one.path, under)]

    async def fleet(self, time: datetime, device_ids: Collection[UUID] | None = None) -> Sequence[Snapshot]:
        self._check()
        found = [await self.at(*file, time) for file in self.files if device_ids is None or file[0] in device_ids]
        there = [one for one in found if one is not None and one.change is not Change.DELETE]
        return sorted(there, key=lambda one: (one.device_id.int, one.path))

    async def find(self, snapshot_id: UUID) -> Snapshot | None:
        self._check()
        return next((one for history in self.files.values() for one, _ in history if one.id == snapshot_id), None)

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
        self._check()
        found = [
            one
            for (owner, name), history in self.files.items()
            for one, _ in history
            if (device_id is None or owner == device_id)
            and (path is None or name == path)
            and (under is None or _is_under(name, under))
            and (since is None or one.time >= since)
            and (until is None or one.time < until)
            and (about is None or about in _about(one))
        ]
        found.sort(key=lambda one: (one.time, one.id), reverse=True)
        if before is not None:
            places = [place for place, one in enumerate(found) if one.id == before]
            found = found[places[0] + 1 :] if places else []
        return found[:limit]

    async def search(
        self,
        query: str,
        *,
        regex: bool = False,
        ever: bool = False,
        device_ids: Collection[UUID] | None = None,
        under: str | None = None,
        limit: int = 100,
    ) -> SearchResult:
        self._check()
        pattern = re.compile(query if regex else re.escape(query), re.IGNORECASE)
        hits = []
        for (owner, path), history in sorted(self.files.items(), key=lambda item: (item[0][0].int, item[0][1])):
            if (device_ids is not None and owner not in device_ids) or (
                under is not None and not _is_under(path, under)
            ):
                continue
            told: set[str] = set()
            for snapshot, version in reversed(history if ever else history[-1:]):
                for number, line in enumerate(_lines(version), 1):
                    if pattern.search(line) and line not in told:
                        told.add(line)
                        hits.append(SearchHit(snapshot=snapshot, line_number=number, line=line))
        hits.sort(key=lambda hit: (hit.snapshot.device_id.int, hit.snapshot.path, hit.line_number))
        searched = len(self.files) if ever else None
        return SearchResult(hits=tuple(hits[:limit]), complete=len(hits) <= limit, searched_files=searched)

    async def contents(self, hashes: Collection[str], *, sound: bool = False) -> Mapping[str, bytes]:
        self._check()
        return {one: self.raw[one] for one in hashes if one in self.raw}

    async def expect(self, device_id: UUID, path: str, content_hash: str, operation_id: UUID) -> None:
        self._check()
        self.expected[device_id, path, content_hash] = operation_id

    async def add_blind(self, device_id: UUID, span: BlindTime) -> None:
        self._check()
        if (device_id, span) not in self.blinds:
            self.blinds.append((device_id, span))

    async def blind(self, device_id: UUID, since: datetime, until: datetime) -> Sequence[BlindTime]:
        self._check()
        spans = [span for owner, span in self.blinds if owner == device_id and span.begin < until and span.end > since]
        return sorted(spans, key=lambda span: span.begin)

    def statistics(self) -> Mapping[str, Any]:
        return {"kept": sum(map(len, self.files.values()))}


class FakeWatches:
    """WatchStore over a dict."""

    def __init__(self) -> None:
        self.rows: dict[tuple[UUID, str, str], ConfigWatch] = {}

    async def watches(self, device_id: UUID | None = None) -> Sequence[ConfigWatch]:
        found = [row for row in self.rows.values() if device_id is None or row.device_id == device_id]
        return sorted(found, key=lambda row: (row.device_id.int, row.path, row.source))

    async def add_watch(self, watch: ConfigWatch) -> bool:
        key = (watch.device_id, watch.path, watch.source)
        new = key not in self.rows
        self.rows[key] = replace(watch)
        return new

    async def remove_watch(self, device_id: UUID, path: str, source: str) -> bool:
        return self.rows.pop((device_id, path, source), None) is not None


def _state(version: Version) -> tuple[Any, ...] | None:
    signature = version.signature
    if signature is None:
        return None
    digest = _digest(version)
    reason = version.reason if version.holding is Holding.NONE else None
    return (version.holding, digest, signature.mode, signature.uid, signature.gid, version.target, reason)


def _classes(before: Version, after: Version) -> tuple[str, ...]:
    old, new = (as_text(one.content or b"") if one.holding is Holding.CONTENT else None for one in (before, after))
    if old is None or new is None or old == new:
        return ("other",)
    return semantic.classes(after.config_type if after.config_type == before.config_type else "text", old, new)


def _about(one: Snapshot) -> tuple[str, ...]:
    return one.classes if one.change is Change.MODIFY else ("other",)


def _digest(version: Version) -> str | None:
    if version.signature is not None and version.holding is Holding.CONTENT:
        return hashlib.sha256(version.content or b"").hexdigest()
    return version.content_hash if version.holding is Holding.DIGEST else None


def _size(version: Version) -> int | None:
    if version.signature is None or version.holding not in (Holding.CONTENT, Holding.DIGEST):
        return None
    return len(version.content or b"") if version.holding is Holding.CONTENT else version.signature.size_bytes


def _lines(version: Version) -> list[str]:
    if version.signature is None or version.holding is not Holding.CONTENT or b"\0" in (version.content or b""):
        return []
    try:
        text = (version.content or b"").decode().replace("\r\n", "\n")
        return Masker().mask(version.config_type, text, version.path).text.split("\n")
    except UnicodeDecodeError:
        return []


def _is_under(path: str, folder: str) -> bool:
    folder = folder.rstrip("/")
    return path == folder or path.startswith(f"{folder}/")
