"""Which of the versions that a watcher saw are new ones. Pure."""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from uuid import UUID

from infrastructor.snapshot_store import Change, Holding, Signature, Version
from infrastructor.storage.contents import Digest, digest

TICK = timedelta(microseconds=1)
_PRIVATE = 0x100000  # where a byte that is no UTF-8, which Python has as U+DC80..U+DCFF, lies in PostgreSQL
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MASK_64, _MASK_32 = (1 << 64) - 1, (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class State:
    """What makes a version another one. Times and inode are not part of it."""

    holding: Holding
    digest: Digest | None
    mode: int
    uid: int
    gid: int
    target: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Known:
    """The newest version of a file; `state` None: it is a DELETE."""

    id: UUID
    time: datetime
    state: State | None
    signature: Signature | None
    config_type: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A version as it can be stored."""

    id: UUID
    path: str
    path_key: UUID
    version: Version
    state: State | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A new version: what is stored of it."""

    seen: Seen
    time: datetime
    change: Change
    after: Digest | None  # content of the version before
    after_type: str | None = None  # and its type of configuration


@dataclass(slots=True)
class Changes:
    """What a batch changes of one file."""

    path_key: UUID
    path: str
    known: Known | None
    kept: list[Kept] = field(default_factory=list)
    signature: Signature | None = None  # the newest, where it is another one than we knew
    gone: bool = False

    @property
    def changed(self) -> bool:
        return bool(self.kept) or self.signature is not None


def seen(device_id: UUID, versions: Sequence[Version]) -> list[Seen]:
    """Name each by what it is, so that adding it again is adding nothing. Reads all content: hashes it."""
    again: Counter[bytes] = Counter()
    result = []
    for version in versions:
        path, state = storable(version.path), state_of(version)
        what = repr((device_id.int, path, (version.time - _EPOCH) // TICK, _parts(state))).encode()
        again[what] += 1
        identity = digest(what + str(again[what]).encode())
        result.append(Seen(_id(version.time, identity), path, path_key(path), version, state))
    return result


def _parts(state: State | None) -> tuple[object, ...] | None:
    if state is None:
        return None
    return (state.holding.value, state.digest, state.mode, state.uid, state.gid, state.target, state.reason)


def state_of(version: Version) -> State | None:
    signature = version.signature
    if signature is None:
        return None
    hashed = None
    if version.holding is Holding.CONTENT:
        if version.content is None:
            raise ValueError(f"{version.path!r} is said to be held with its content, and there is none")
        hashed = digest(version.content)
    elif version.holding is Holding.DIGEST and version.content_hash:
        hashed = _digest_of(version.content_hash)
    return State(
        holding=version.holding,
        digest=hashed,
        mode=signature.mode & _MASK_32,
        uid=signature.uid & _MASK_32,
        gid=signature.gid & _MASK_32,
        target=None if version.target is None else storable(version.target),
        reason=None if version.reason is None or version.holding is not Holding.NONE else storable(version.reason),
    )


def _digest_of(text: str) -> Digest | None:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def changes(
    items: Sequence[Seen],
    known: Mapping[UUID, Known],
    stored: Collection[UUID],
    state_at: Callable[[UUID, datetime], State | None],
) -> list[Changes]:
    """What is new in a batch, by file.

    `stored` are the ids of those that are stored already: they and all before them of the same file were added once,
    and the answer was lost. `state_at` tells what a file was at a time before its newest version.
    """
    by_file: dict[UUID, list[Seen]] = {}
    for item in items:
        by_file.setdefault(item.path_key, []).append(item)
    return [_changes_of(files, known.get(key), stored, state_at) for key, files in by_file.items()]


def _changes_of(
    items: Sequence[Seen],
    known: Known | None,
    stored: Collection[UUID],
    state_at: Callable[[UUID, datetime], State | None],
) -> Changes:
    first = max((place + 1 for place, item in enumerate(items) if item.id in stored), default=0)
    result = Changes(items[0].path_key, items[0].path, known)
    state = known.state if known else None
    kind = known.config_type if known else None
    time = known.time if known else None
    signature = known.signature if known else None
    for item in items[first:]:
        if known and _is_late(item, known) and state_at(item.path_key, item.version.time) == item.state:
            continue  # somebody else saw it too, and has seen a newer one since
        if item.state != state:
            change = Change.DELETE if item.state is None else Change.CREATE if state is None else Change.MODIFY
            time = item.version.time if time is None or item.version.time > time else time + TICK
            after = state.digest if state and state.holding is Holding.CONTENT else None
            result.kept.append(Kept(item, time, change, after, kind))
            state, kind = item.state, item.version.config_type
        signature = item.version.signature
    result.gone = state is None
    if signature is not None and (known is None or signature != known.signature):
        result.signature = signature
    return result


def _is_late(item: Seen, known: Known) -> bool:
    """Both clocks, ours and the device's, say that it was so before the version we know."""
    ours, theirs = item.version.signature, known.signature
    if item.version.time >= known.time or ours is None:
        return False
    return theirs is None or ours.ctime_ns <= theirs.ctime_ns


def _id(time: datetime, identity: bytes) -> UUID:
    """A version 7 UUID of that time; what is random there is here what tells it from others."""
    microseconds = min(max(0, (time - _EPOCH) // TICK), (1 << 48) * 1000 - 1)
    milliseconds, rest = divmod(microseconds, 1000)
    random = int.from_bytes(identity[:8], "big") & ((1 << 62) - 1)
    return UUID(int=milliseconds << 80 | 0x7 << 76 | (rest * 4096 // 1000) << 64 | 0b10 << 62 | random)


# --- what PostgreSQL has no form for -------------------------------------------------------------------


def storable(text: str) -> str:
    """Text that PostgreSQL takes; a name's bytes that are no UTF-8 come back by `original`."""
    if "\0" in text:
        text = text.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if text.isascii():
        return text
    return "".join(chr(ord(char) + _PRIVATE) if 0xD800 <= ord(char) <= 0xDFFF else char for char in text)  # noqa: PLR2004


def original(text: str) -> str:
    """What `storable` was given."""
    if text.isascii():
        return text
    low, high = 0xD800 + _PRIVATE, 0xDFFF + _PRIVATE
    return "".join(chr(ord(char) - _PRIVATE) if low <= ord(char) <= high else char for char in text)


@lru_cache(maxsize=2048)
def path_key(path: str) -> UUID:
    """Stands for a storable path."""
    return UUID(bytes=hashlib.sha256(path.encode()).digest()[:16])


def signed_64(value: int) -> int:
    """An unsigned number of a device as a BIGINT; `unsigned_64` gives it back."""
    value &= _MASK_64
    return value - (1 << 64) if value >> 63 else value


def signed_32(value: int) -> int:
    value &= _MASK_32
    return value - (1 << 32) if value >> 31 else value


def unsigned_64(value: int) -> int:
    return value & _MASK_64


def unsigned_32(value: int | None) -> int | None:
    return None if value is None else value & _MASK_32


def moment(nanoseconds: int | None) -> datetime | None:
    """A device's time; None where no calendar has it."""
    if nanoseconds is None:
        return None
    try:
        return _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None
