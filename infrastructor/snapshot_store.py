"""What is kept of watched files: the records, and the ports of the stores.

A file is known by its device and path. A version of it is a snapshot; nothing is kept twice, nothing is overwritten.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from infrastructor.formats.secrets import Masker


class Change(StrEnum):
    CREATE = "CREATE"
    MODIFY = "MODIFY"
    DELETE = "DELETE"


class Holding(StrEnum):
    """What we have of a version's content."""

    CONTENT = "content"  # every byte
    DIGEST = "digest"  # too big to keep: its hash and size
    LINK = "link"  # a symbolic link; `target` says where to
    NONE = "none"  # a socket, a device, or a file that may not be read: `reason` says why


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What stat says of a file; equal signatures mean that nobody wrote to it."""

    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    mode: int  # type and permission bits, as in st_mode
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A file as a watcher saw it; `signature` None: it is gone.

    `time` is ours, not the device's clock: when it was noticed or, found after a gap, when it must have happened.
    """

    path: str
    time: datetime
    config_type: str
    signature: Signature | None
    holding: Holding = Holding.NONE
    content: bytes | None = None  # with CONTENT
    content_hash: str | None = None  # SHA-256, hexadecimal; with CONTENT and DIGEST
    target: str | None = None
    reason: str | None = None
    operation_id: UUID | None = None  # the operation of ours that wrote it


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A version as it is kept.

    `classes` says what a MODIFY is about: cosmetic, image, env, ports, …; none: it was not compared yet.
    """

    id: UUID
    device_id: UUID
    path: str
    time: datetime
    change: Change
    config_type: str
    holding: Holding
    content_hash: str | None
    size_bytes: int | None
    mode: int | None
    uid: int | None
    gid: int | None
    modified_at: datetime | None  # the device's mtime
    target: str | None = None
    reason: str | None = None
    classes: tuple[str, ...] = ()
    operation_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest version of a file that is there."""

    path: str
    signature: Signature
    holding: Holding
    content_hash: str | None
    snapshot_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindTime:
    """A span in which nobody watched; versions written and overwritten within it are not known."""

    begin: datetime
    end: datetime
    reason: str


REFUSED = "refused"
"""The source of a watch that says what discovery must leave alone, because somebody removed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigWatch:
    """Something to watch on a device: a folder and what is in it, or one file. `source` says who wants it."""

    device_id: UUID
    path: str
    source: str  # user, or what discovery found: compose, swag, nginx, traefik, apache, appdata
    recursive: bool = True
    include: tuple[str, ...] = ()  # name patterns; none: every file
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A line in which it was found, secrets masked; `snapshot` is the newest searched version that has the line."""

    snapshot: Snapshot
    line_number: int  # from 1
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """Hits by device, path and line. Not `complete`: there are more, or time was up before all was searched."""

    hits: tuple[SearchHit, ...]
    complete: bool
    searched_files: int | None = None  # of a search in every version; None: all current ones


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """How something should be: a path, with all that is below it, as it was at `time`."""

    device_id: UUID
    path: str  # "/" is the whole device
    time: datetime
    pinned_by: str
    pinned_at: datetime
    note: str | None = None


class SnapshotStore(Protocol):
    """Versions of files, for ever."""

    async def add(self, device_id: UUID, versions: Sequence[Version]) -> Sequence[Snapshot]:
        """Keep, in one transaction, those that differ from the newest version of their file; and tell of them.

        Versions of one file are in the order in which they were seen. One that is older than the newest known, though
        seen later, gets a time just after it. Adding the same versions again keeps nothing. Each kept one is an event
        `config.create`, `config.modify` or `config.delete` of topic `configs`, of the same transaction and with the
        snapshot's id. One that is the same in content, kind and attributes only refreshes the signature of its file.
        Returns the kept ones. Raises `DatabaseOperationError`: then nothing is kept and it can be added again.
        """
        ...

    async def heads(self, device_id: UUID) -> Sequence[Head]:
        """The newest version of each file that is there, by path; a watcher compares them with the device."""
        ...

    async def at(self, device_id: UUID, path: str, time: datetime) -> Snapshot | None:
        """The newest version at that time, a DELETE included; None when the file was not known yet."""
        ...

    async def tree(self, device_id: UUID, time: datetime, under: str = "/") -> Sequence[Snapshot]:
        """Every file that was there at that time, by path."""
        ...

    async def fleet(self, time: datetime, device_ids: Collection[UUID] | None = None) -> Sequence[Snapshot]:
        """The same of several devices, or of all."""
        ...

    async def find(self, snapshot_id: UUID) -> Snapshot | None: ...

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
        """Snapshots newest first; `before` is the last one of the page before.

        `about` leaves out those that are known to be about something else; creation and deletion are about "other".
        """
        ...

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
        """Lines that contain a text, or match a PostgreSQL regular expression; case does not matter.

        In the newest version of each text file up to 1 MiB; `ever`: in every version, each line of a file once, for as
        long as time allows. Secrets are masked before the search. Raises `ValidationFailed` for a query that is empty,
        has a line feed, or is no regular expression.
        """
        ...

    async def contents(self, hashes: Collection[str], *, sound: bool = False) -> Mapping[str, bytes]:
        """Raw contents by hash; those that are not kept are left out. Secrets are in them.

        A damaged one raises `DatabaseOperationError`; with `sound` it is left out too, for lists of many.
        """
        ...

    async def expect(self, device_id: UUID, path: str, content_hash: str, operation_id: UUID) -> None:
        """An operation of ours is about to write this: the version that has it will carry its id.

        Good for ten minutes, in all processes.
        """
        ...

    async def add_blind(self, device_id: UUID, span: BlindTime) -> None:
        """Keep it once. One that is not empty is an event `watch.gap` of topic `configs`, of the same transaction."""
        ...

    async def blind(self, device_id: UUID, since: datetime, until: datetime) -> Sequence[BlindTime]: ...

    def statistics(self) -> Mapping[str, Any]: ...


class WatchStore(Protocol):
    """What is to be watched; changes are noticed by all processes."""

    async def watches(self, device_id: UUID | None = None) -> Sequence[ConfigWatch]: ...

    async def add_watch(self, watch: ConfigWatch) -> bool:
        """False when that path of the device is watched already for the same source; it is updated then."""
        ...

    async def remove_watch(self, device_id: UUID, path: str, source: str) -> bool: ...


class BaselineStore(Protocol):
    """What was declared to be right; one baseline for a path of a device."""

    async def baselines(self, device_id: UUID | None = None) -> Sequence[Baseline]:
        """By device and path."""
        ...

    async def pin(self, baseline: Baseline) -> bool:
        """False when that path had one, which is replaced."""
        ...

    async def unpin(self, device_id: UUID, path: str) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class History:
    """All that operations on the history of configuration need; `masker` has the key of this server's fingerprints."""

    snapshots: SnapshotStore
    watches: WatchStore
    baselines: BaselineStore
    masker: Masker
