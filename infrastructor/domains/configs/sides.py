"""Versions as callers name them, and their contents as they may be shown."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from infrastructor.domains.configs.file_commands import ABSENT, RemoteFile
from infrastructor.domains.configs.files import read_file
from infrastructor.domains.configs.roots import roots_of
from infrastructor.errors import NotFound, PermissionDenied
from infrastructor.formats.kinds import BINARY, TEXT, as_text, config_type
from infrastructor.formats.secrets import Masker
from infrastructor.operation import Context
from infrastructor.snapshot_store import REFUSED, Baseline, Change, Holding, Snapshot
from infrastructor.times import moment

LIVE, LATEST, PREVIOUS, BASELINE = "live", "latest", "previous", "baseline"
_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A file of a device at one time. `content` None: there is none, or it is not kept; `why` says which."""

    device: str
    path: str
    exists: bool
    kind: str
    content: bytes | None = None
    snapshot: Snapshot | None = None
    live: RemoteFile | None = None
    why: str | None = None

    @property
    def text(self) -> str | None:
        return None if self.content is None else as_text(self.content)

    def masked(self, masker: Masker) -> str | None:
        """The text as it may be shown; None where there is no text."""
        text = self.text
        return None if text is None else masker.mask(self.kind, text, self.path).text


async def check_known(ctx: Context, path: str) -> str:
    """Only what is watched, or was, is read: the right to look at configuration is none to read every file.

    The watched folder or file that covers it; "/" where only the history knows it.
    """
    watched = [watch for watch in await ctx.watches.watches(ctx.device.id) if watch.source != REFUSED]
    covering = [root.path for root in roots_of(watched) if root.covers(path)]
    if not covering and await ctx.snapshots.at(ctx.device.id, path, ctx.now) is None:
        raise NotFound(
            f"{path} on {ctx.device.hostname} is not watched, and nothing is known of it.",
            hint="Watch it with config_watch_add; config_file_list names the files that are known.",
        )
    return max(covering, key=len, default="/")


async def read_known(ctx: Context, path: str) -> RemoteFile:
    """The file as it is on the device now; a link is followed only to what may be read too."""
    found = await read_file(ctx, path, within=await check_known(ctx, path))
    if found.path != path:
        try:
            await check_known(ctx, found.path)
        except NotFound as error:
            raise PermissionDenied(
                f"{path} on {ctx.device.hostname} is a link to {found.path}, which is not watched.",
                hint="Watch the file that it leads to, if it may be seen.",
            ) from error
    return found


async def read_live(ctx: Context, path: str) -> Side:
    """The same as a side."""
    return live_side(ctx, path, await read_known(ctx, path))


def live_side(ctx: Context, path: str, found: RemoteFile) -> Side:
    """What was read from the device."""
    why = None
    if found.exists and found.content is None:
        why = f"{path} has {found.size_bytes} bytes; at most 1 MiB is shown."
    return Side(
        device=ctx.device.hostname,
        path=path,
        exists=found.exists,
        kind=config_type(path, found.content) if found.exists else TEXT,
        content=found.content,
        live=found,
        why=why,
    )


async def stored(ctx: Context, snapshot: Snapshot) -> Side:
    """A version of the history with its content."""
    (side,) = await stored_all(ctx, [snapshot])
    return side


async def stored_all(ctx: Context, snapshots: Sequence[Snapshot], *, sound: bool = False) -> list[Side]:
    """The same of several; contents are read once. With `sound` a damaged one is no error, but has no content."""
    hashes = {one.content_hash for one in snapshots if one.holding is Holding.CONTENT and one.content_hash}
    contents = await ctx.snapshots.contents(hashes, sound=sound) if hashes else {}
    names = {device.id: device.hostname for device in await ctx.devices.all()}
    return [
        Side(
            device=names.get(one.device_id, str(one.device_id)),
            path=one.path,
            exists=one.change is not Change.DELETE,
            kind=one.config_type,
            content=contents.get(one.content_hash or "") if one.holding is Holding.CONTENT else None,
            snapshot=one,
            why=_why(one),
        )
        for one in snapshots
    ]


def _why(snapshot: Snapshot) -> str | None:
    if snapshot.change is Change.DELETE:
        return None
    if snapshot.holding is Holding.DIGEST:
        return f"It was too big to keep ({snapshot.size_bytes} bytes); only its hash is known."
    if snapshot.holding is Holding.LINK:
        return f"It was a link to {snapshot.target}."
    if snapshot.holding is Holding.NONE:
        return snapshot.reason or "It had no content that could be read."
    return None


async def resolve(ctx: Context, path: str, ref: str) -> Side:
    """The version of a path that is meant. Raises `NotFound`, `ValidationFailed`."""
    if ref == LIVE:
        return await read_live(ctx, path)
    return await stored(ctx, await resolve_stored(ctx, path, ref))


async def resolve_stored(ctx: Context, path: str, ref: str) -> Snapshot:
    """A version in the history by its id, by a time, or by a word."""
    device_id = ctx.device.id
    if (number := _as_id(ref)) is not None:
        found = await ctx.snapshots.find(number)
        if found is None or found.device_id != device_id or found.path != path:
            raise NotFound(
                f"{path} on {ctx.device.hostname} has no version {ref}.", hint="config_history names its versions."
            )
        return found
    latest = await ctx.snapshots.at(device_id, path, ctx.now)
    if latest is None:
        raise NotFound(
            f"Nothing is known of {path} on {ctx.device.hostname}.",
            hint="config_file_list names the files that are known; config_watch_add watches more.",
        )
    if ref == LATEST:
        return latest
    if ref == PREVIOUS:
        return _there(await before(ctx, latest), ctx, path, "a version before its newest one")
    if ref == BASELINE:
        pinned = await baseline_of(ctx, path)
        return _there(await ctx.snapshots.at(device_id, path, pinned.time), ctx, path, "a version at its baseline")
    time = moment(ref, ctx.now, "version")
    return _there(await ctx.snapshots.at(device_id, path, time), ctx, path, f"a version at {time:%FT%TZ}")


async def before(ctx: Context, snapshot: Snapshot) -> Snapshot | None:
    """The version of the same file before this one."""
    return await ctx.snapshots.at(snapshot.device_id, snapshot.path, snapshot.time - _TICK)


async def baseline_of(ctx: Context, path: str) -> Baseline:
    """The baseline that speaks for a path: its own, or that of the nearest folder above. Raises `NotFound`."""
    pinned = await ctx.baselines.baselines(ctx.device.id)
    above = [one for one in pinned if one.path in {"/", path} or path.startswith(f"{one.path}/")]
    if not above:
        raise NotFound(
            f"No baseline speaks for {path} on {ctx.device.hostname}.",
            hint="Declare one with config_baseline_set, or compare against another device.",
        )
    return max(above, key=lambda one: len(one.path))


def _there(snapshot: Snapshot | None, ctx: Context, path: str, what: str) -> Snapshot:
    if snapshot is None:
        raise NotFound(f"{path} on {ctx.device.hostname} has no {what.removeprefix('a ')}.", hint="See config_history.")
    return snapshot


def _as_id(ref: str) -> UUID | None:
    return UUID(ref) if _ID.fullmatch(ref) else None


def sha256_of(side: Side) -> str:
    """The hash of its content; `absent` where there is no file."""
    if not side.exists:
        return ABSENT
    if side.live is not None:
        return side.live.sha256
    if side.snapshot is not None and side.snapshot.content_hash is not None:
        return side.snapshot.content_hash
    return hashlib.sha256(side.content or b"").hexdigest()


def shown_at(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}Z"


def is_binary(side: Side) -> bool:
    return side.kind == BINARY or (side.content is not None and side.text is None)
