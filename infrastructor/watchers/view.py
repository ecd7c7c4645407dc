"""What we believe of a device's files; what a monitor tells becomes versions on their way to the store."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from infrastructor.domains.configs.roots import Root, covered
from infrastructor.formats.kinds import config_type
from infrastructor.sanitize import clean
from infrastructor.snapshot_store import BlindTime, Head, Holding, Version
from infrastructor.watchers.agent_protocol import (
    FileContent,
    FileDigest,
    FileGone,
    FileLink,
    FileMessage,
    FileUnread,
    mark_of,
    signature_of,
    tree_digest,
)
from infrastructor.watchers.file_state import FileWatchState
from infrastructor.watchers.version_outbox import VersionOutbox

WORTH_NOTING_S = 0.1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Reasons as an agent says them, in words.
REASONS = {
    "EACCES": "permission denied", "EPERM": "not permitted", "EIO": "input/output error", "ELOOP": "too many links",
    "special": "a socket, pipe or device", "huge": "too big to be read", "limit": "beyond the limit of files",
    "ESTALE": "stale file handle", "name": "a name with a line break",
}  # fmt: skip


def as_text(path: bytes) -> str:
    """A path as stores take it; bytes that are no UTF-8 are lone surrogates."""
    return path.decode("utf-8", "surrogateescape")


def as_shown(path: bytes) -> str:
    """A path as people read it."""
    return clean(path.decode("utf-8", "backslashreplace"), 4096)


@dataclass(slots=True)
class Blind:
    """Nobody watches since then."""

    begin: datetime | None
    reason: str


class View:
    """`marks` are the signatures of all files as we know them, by path. Times are those of `Version`."""

    def __init__(self, roots: tuple[Root, ...], outbox: VersionOutbox, state: FileWatchState) -> None:
        self.roots = roots
        self.state = state
        self.marks: dict[bytes, bytes] = {}
        self.denied: set[bytes] = set()  # known files whose attributes may not be seen any more
        self.ahead = timedelta(0)  # of the device's clock
        self.heard = datetime.now(UTC)
        self._blind: Blind | None = Blind(None, "")
        self._outbox = outbox

    def begin_with(self, heads: Iterable[Head], begin: datetime | None, reason: str) -> None:
        """What the store knows, and since when nobody watched."""
        known = ((head.path, mark_of(head.signature)) for head in heads if covered(self.roots, head.path))
        self.marks = {path.encode("utf-8", "surrogateescape"): mark for path, mark in known}
        self._blind = Blind(begin, reason)

    # --- comparing -----------------------------------------------------------------------------------

    def digest(self) -> str:
        return tree_digest({path: mark for path, mark in self.marks.items() if path not in self.denied})

    def differing(self, listed: dict[bytes, bytes]) -> list[bytes]:
        """What has to be asked for: files that are new or other than we know, and those that are not there."""
        changed = [path for path, mark in listed.items() if self.marks.get(path) != mark]
        return changed + [path for path in self.marks if path not in listed and path not in self.denied]

    # --- being told ----------------------------------------------------------------------------------

    def hear(self, clock_ns: int | None = None) -> None:
        self.heard = datetime.now(UTC)
        if clock_ns is not None:
            self.ahead = _moment(clock_ns) - self.heard

    async def take(self, message: FileMessage) -> None:
        """Believe it, and hand it on."""
        path = message.path
        name = as_text(path)
        if isinstance(message, FileUnread):
            self.state.refuse(as_shown(path), REASONS.get(message.reason, message.reason))
            if message.mark is None:
                self.denied.add(path)
                return
        else:
            self.state.unreadable.pop(as_shown(path), None)
        self.denied.discard(path)
        if isinstance(message, FileGone):
            if self.marks.pop(path, None) is None:
                return
        elif message.mark is not None:
            self.marks[path] = message.mark
        self.state.events += 1
        self.state.last_event = datetime.now(UTC)
        await self._outbox.put(self._version(name, message))

    def _version(self, name: str, message: FileMessage) -> Version:
        now = datetime.now(UTC)
        if isinstance(message, FileGone):
            return Version(path=name, time=now, config_type=config_type(name, None), signature=None)
        assert message.mark is not None  # noqa: S101
        signature = signature_of(message.mark)
        time = self._when(signature.ctime_ns, now)
        kind = config_type(name, message.content if isinstance(message, FileContent) else None)
        return Version(path=name, time=time, config_type=kind, signature=signature, **_held(message))

    def _when(self, ctime_ns: int, now: datetime) -> datetime:
        """Now; for what happened while nobody watched: when the device says, as far as that can be."""
        if self._blind is None or self._blind.begin is None:
            return now
        try:
            return max(self._blind.begin, min(now, _moment(ctime_ns) - self.ahead))
        except OverflowError:  # clocks of no calendar
            return now

    # --- blind times ---------------------------------------------------------------------------------

    @property
    def synchronized(self) -> bool:
        return self._blind is None

    def lose(self, reason: str) -> None:
        """From the last word on, nobody knows."""
        if self._blind is None:
            self._blind = Blind(self.heard, reason)

    async def synchronize(self) -> None:
        """All that there is has been told; a gap ends."""
        blind, self._blind = self._blind, None
        now = self.heard = datetime.now(UTC)
        self.state.compared = now
        if blind is None or blind.begin is None or (now - blind.begin).total_seconds() < WORTH_NOTING_S:
            return
        span = BlindTime(begin=blind.begin, end=now, reason=clean(blind.reason, 300))
        self.state.spans.append(span)
        await self._outbox.put(span)


def _held(message: FileMessage) -> dict[str, Any]:
    """The fields of a version that say what is kept of the file."""
    match message:
        case FileContent(content=content):
            digest = hashlib.sha256(content).hexdigest()
            return {"holding": Holding.CONTENT, "content": content, "content_hash": digest}
        case FileDigest(content_hash=digest):
            return {"holding": Holding.DIGEST, "content_hash": digest}
        case FileLink(target=target):
            return {"holding": Holding.LINK, "target": as_text(target)}
        case FileUnread(reason=reason):
            return {"holding": Holding.NONE, "reason": REASONS.get(reason, reason)}
    return {}


def _moment(nanoseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return _EPOCH
