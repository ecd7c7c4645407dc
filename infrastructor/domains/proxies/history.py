"""The seam to the history of configuration files: earlier samples out of it, fresh readings into it.

A service that was given none has no history, and says so.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256

from infrastructor.domains.proxies.inventory import Entry
from infrastructor.domains.proxies.parsers import ConfigFile
from infrastructor.domains.proxies.place import Place
from infrastructor.errors import DatabaseOperationError, InfrastructorError
from infrastructor.formats.nginx import decode
from infrastructor.formats.swag import version_of
from infrastructor.operation import Context
from infrastructor.snapshot_store import Holding, Signature, SnapshotStore, Version

CONFIG_TYPE = "swag"
_LOOKED_BACK = 200
_NANO = 1_000_000_000


def store_of(ctx: Context) -> SnapshotStore | None:
    """The history, where this service keeps one."""
    try:
        return ctx.snapshots
    except InfrastructorError:
        return None


async def sample_of_version(ctx: Context, place: Place, entry: Entry, current: Entry | None) -> str | None:
    """The sample that a configuration was made from, by the date in its first line; None when nobody kept it."""
    if entry.version is None:
        return None
    if current is not None and current.version == entry.version:
        return current.text
    store = store_of(ctx)
    if store is None or current is None:
        return None
    try:
        path = place.path(current.file.path)
        kept = await store.history(device_id=ctx.device.id, path=path, limit=_LOOKED_BACK)
        contents = await store.contents({one.content_hash for one in kept if one.content_hash}, sound=True)
    except DatabaseOperationError:  # reading goes on without it
        return None
    for one in kept:
        text = decode(contents.get(one.content_hash or "", b""))
        if version_of(text[:200]) == entry.version:
            return text
    return None


async def announce(ctx: Context, sides: Iterable[tuple[str, bytes | None, bytes | None]]) -> None:
    """Tell the history which contents this operation is about to write, or to put back, so that they count as ours."""
    store = store_of(ctx)
    for path, *contents in sides if store is not None else ():
        for content in contents:
            if content is not None and store is not None:
                await store.expect(ctx.device.id, path, sha256(content).hexdigest(), ctx.operation_id)


async def hand_over(ctx: Context, place: Place, files: Iterable[ConfigFile]) -> int | None:
    """Put a reading into the history; how many files were new or changed there, None without one.

    Symbolic links are left to the watcher, which keeps them as links.
    """
    store = store_of(ctx)
    if store is None:
        return None
    now = datetime.now(UTC)
    kept = await store.add(ctx.device.id, [_version(place, one, now) for one in files if not one.link])
    return len(kept)


def _version(place: Place, file: ConfigFile, now: datetime) -> Version:
    return Version(
        path=place.path(file.path),
        time=now,
        config_type=CONFIG_TYPE,
        signature=Signature(
            inode=file.inode,
            size_bytes=file.size_bytes,
            mtime_ns=file.modified_s * _NANO,
            ctime_ns=file.changed_s * _NANO,
            mode=file.mode,
            uid=file.uid,
            gid=file.gid,
        ),
        holding=Holding.NONE if file.content is None else Holding.CONTENT,
        content=file.content,
        content_hash=None if file.content is None else file.sha256,
        reason="larger than the proxy operations read" if file.content is None else None,
    )
