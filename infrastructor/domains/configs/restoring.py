"""Putting a version back: validated first, compared before it is swapped, undone when it is not taken."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath
from stat import S_IFREG

from pydantic import Field

from infrastructor.domains.configs.comparison import Compared, compared
from infrastructor.domains.configs.file_commands import ABSENT, LONGEST, RemoteFile
from infrastructor.domains.configs.files import FILE_COMMANDS, read_file, remove_file, run_judged, write_file
from infrastructor.domains.configs.judged_change import JudgedChange, put
from infrastructor.domains.configs.models import ConfigPath, Restored, VersionRef
from infrastructor.domains.configs.nginx_tests import NGINX_COMMANDS, NGINX_QUERIES, NginxTester, find_tester
from infrastructor.domains.configs.sides import LIVE, live_side, read_known, resolve_stored, stored
from infrastructor.domains.configs.validating import TestComposeText
from infrastructor.domains.containers.commands import engine_of
from infrastructor.errors import (
    Cancelled,
    CommandFailed,
    CommandTimeout,
    Conflict,
    NotFound,
    ParseError,
    ValidationFailed,
)
from infrastructor.formats.kinds import NGINX_KINDS, as_text, config_type
from infrastructor.formats.trees import NotUnderstood, parse
from infrastructor.masking import mask_secrets
from infrastructor.operation import PLAIN, Context, DeviceParams, operation
from infrastructor.ports.callers import Effect
from infrastructor.sanitize import clean
from infrastructor.snapshot_store import Holding, Signature, Snapshot, Version

_PARSED = frozenset({"compose", "traefik", "yaml", "json", "toml"})
_NANO = 1_000_000_000


class RestoreParams(DeviceParams):
    """Input of config_restore."""

    path: ConfigPath
    version: VersionRef
    dry_run: bool = Field(default=False, description="Only say what would happen.", json_schema_extra=PLAIN)
    expect: str | None = Field(
        default=None, pattern=r"^(absent|[0-9a-f]{64})$", description="before_sha256 of the dry run."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Restore:
    """One restore under way."""

    ctx: Context
    path: str
    now: RemoteFile
    content: bytes
    target: Snapshot
    kind: str


@operation(
    name="config_restore",
    effect=Effect.CHANGE,
    route="POST /api/configs/{device}/restore",
    commands=(*FILE_COMMANDS, JudgedChange, TestComposeText, *NGINX_COMMANDS),
    queries=NGINX_QUERIES,
    deadline=timedelta(minutes=5),
)
async def config_restore(ctx: Context, params: RestoreParams) -> Restored:
    """Put a version of a file back, validated by its program; nginx refusing it undoes it. Try dry_run first."""
    target = await _target(ctx, params.path, params.version)
    content = await _content(ctx, target)
    now = await read_known(ctx, params.path)
    if now.exists and now.content is None:
        raise ValidationFailed(
            f"{params.path} has {now.size_bytes} bytes now: more than can be kept to put it back if something fails.",
            hint="Move it away by other means first.",
        )
    if params.expect is not None and params.expect != now.sha256:
        raise Conflict(
            f"{params.path} on {ctx.device.hostname} is another by now than when you looked.",
            hint="Look at it again with dry_run, and decide on what is there now.",
        )
    restore = _Restore(
        ctx=ctx,
        path=params.path,
        now=now,
        content=content,
        target=target,
        kind=config_type(params.path, content),
    )
    difference = await compared(live_side(ctx, params.path, now), await stored(ctx, target), ctx.masker, most=12_000)
    if now.sha256 == hashlib.sha256(content).hexdigest():
        return _answer(restore, difference, params, changed=False, validated_by="nothing", message="It is so already.")
    judge = await _validate(restore)
    tester = await find_tester(ctx, restore.path) if restore.kind in NGINX_KINDS else None
    validated_by = judge if tester is None else tester.name
    if params.dry_run:
        words = "It would be written" + (
            "." if tester is None else f", tested by {tester.name}, and undone if refused."
        )
        return _answer(restore, difference, params, changed=True, validated_by=validated_by, message=words)
    before = await _keep_before(restore)
    # Whoever watches sees it before we know that it is written: it must be known to be ours by then.
    await ctx.snapshots.expect(ctx.device.id, restore.path, target.content_hash or "", ctx.operation_id)
    way = await (_write(restore) if tester is None else _write_judged(restore, tester))
    after = await _keep_after(restore)
    return _answer(
        restore,
        difference,
        params,
        changed=True,
        validated_by=validated_by,
        message=_WAYS.get(way, "It was written."),
        before=before,
        after=after,
    )


_WAYS = {
    "renamed": "It was written, as a new file in place of the old one; mode and owner are as they were.",
    "in_place": "It was written into the same file, since something else holds it; mode and owner are as they were.",
    "new": "It was created, with the mode and owner it had.",
}


async def _target(ctx: Context, path: str, ref: str) -> Snapshot:
    if ref == LIVE:
        raise ValidationFailed("live is what is there already.", hint="Take a version from config_history, or a time.")
    target = await resolve_stored(ctx, path, ref)
    if target.holding is not Holding.CONTENT or target.content_hash is None:
        raise ValidationFailed(
            f"{path} had no content that could be put back in that version: {target.change.value.lower()}, "
            f"{target.reason or target.holding.value}.",
            hint="Choose another version from config_history.",
        )
    return target


async def _content(ctx: Context, target: Snapshot) -> bytes:
    content = (await ctx.snapshots.contents([target.content_hash or ""])).get(target.content_hash or "")
    if content is None or hashlib.sha256(content).hexdigest() != target.content_hash:
        raise NotFound(f"The content of version {target.id} is not kept any more.", hint="Choose another version.")
    if len(content) > LONGEST:
        raise ValidationFailed(f"It has {len(content)} bytes; at most {LONGEST} can be written.")
    return content


async def _validate(restore: _Restore) -> str:
    """Before anything is written. Says who judged; raises `ValidationFailed` with what they said."""
    ctx, kind, path = restore.ctx, restore.kind, restore.path
    text = as_text(restore.content)
    if text is None or kind not in _PARSED:
        return "nothing"
    try:
        parse(kind, text)
    except NotUnderstood as error:
        raise ValidationFailed(
            f"That version of {path} is no {kind} that could be read: {ctx.masker.mask('text', str(error)).text}",
            hint="Nothing was changed. Choose another version from config_history.",
        ) from error
    if kind != "compose":
        return "parsing"
    verdict = await ctx.run(TestComposeText(folder=str(PurePosixPath(path).parent), content=restore.content))
    if verdict.accepted is None:
        return "parsing, as the device has no docker compose"
    if not verdict.accepted:
        raise ValidationFailed(
            f"docker compose on {ctx.device.hostname} refuses that version of {path}: {verdict.said}",
            hint="Nothing was changed. Missing variables or networks must be there first.",
        )
    return "docker compose config"


async def _keep_before(restore: _Restore) -> Snapshot | None:
    """The state before is a version too, whether or not anybody watches."""
    return await _keep(restore, restore.now, restore.now.content)


async def _keep(restore: _Restore, found: RemoteFile, content: bytes | None, *, ours: bool = False) -> Snapshot | None:
    ctx = restore.ctx
    signature = None
    if found.exists:
        signature = Signature(
            inode=found.inode,
            size_bytes=found.size_bytes,
            mtime_ns=found.modified_s * _NANO,
            ctime_ns=0,
            mode=S_IFREG | found.mode,
            uid=found.uid,
            gid=found.gid,
        )
    version = Version(
        path=restore.path,
        time=ctx.now,
        config_type=config_type(restore.path, content),
        signature=signature,
        holding=Holding.CONTENT if content is not None else Holding.DIGEST if found.exists else Holding.NONE,
        content=content,
        content_hash=found.sha256 if found.exists else None,
        operation_id=ctx.operation_id if ours else None,
    )
    kept = await ctx.snapshots.add(ctx.device.id, [version])
    return kept[0] if kept else await ctx.snapshots.at(ctx.device.id, restore.path, ctx.now)


async def _write(restore: _Restore) -> str:
    mode, owner = _attributes(restore)
    done = await write_file(
        restore.ctx, restore.path, restore.content, expect=restore.now.sha256, mode=mode, owner=owner
    )
    return done.way


def _attributes(restore: _Restore) -> tuple[int | None, str]:
    """Mode and owner, for a file that is not there: those it had."""
    target = restore.target
    if restore.now.exists:
        return None, ""
    return (
        None if target.mode is None else target.mode & 0o7777,
        "" if target.uid is None else f"{target.uid}:{target.gid}",
    )


async def _write_judged(restore: _Restore, tester: NginxTester) -> str:
    """In one run on the device: written, judged by nginx, and where it refuses, as it was."""
    ctx, now = restore.ctx, restore.now
    if now.exists:  # also of what puts it back
        await ctx.snapshots.expect(ctx.device.id, restore.path, now.sha256, ctx.operation_id)
    mode, owner = _attributes(restore)
    engine = engine_of(await ctx.links.capabilities(ctx.device))
    command = JudgedChange(
        judge="host" if tester.container is None else engine,
        container=tester.container or "",
        # What only warns is no reason to leave the file as it is.
        steps=put(restore.path, now.content if now.exists else None, restore.content, mode=mode, owner=owner),
        strict="",
    )
    try:
        report = await run_judged(ctx, command)
    except (Cancelled, CommandFailed, CommandTimeout, ParseError):
        await _undo(restore, hashlib.sha256(restore.content).hexdigest())
        raise
    if report.left:
        raise Conflict(
            f"{restore.path} on {ctx.device.hostname} could not be put back as it was: {'; '.join(report.left)}",
            hint="Look at config_history: the state before is a version there.",
        )
    if report.outcome == "stopped":
        raise Cancelled(f"It was stopped before nginx of {ctx.device.hostname} had judged it; it was put back.")
    if report.outcome != "done":
        said = clean(mask_secrets(report.judged.text if report.judged else ""), 1500)
        raise ValidationFailed(
            f"{tester.name} on {ctx.device.hostname} refuses that version of {restore.path}: {said}",
            hint="It was undone: the file is as it was. nginx was not reloaded.",
        )
    return report.ways[0] if report.ways else ""


async def _undo(restore: _Restore, written: str) -> None:
    """After a run that was killed in the middle: nobody knows how far it came."""
    ctx, now = restore.ctx, restore.now
    with suppress(Conflict):  # it is not what it would be: not written, or put back already
        if not now.exists:
            await remove_file(ctx, restore.path, expect=written)
        elif now.content is not None:
            await write_file(ctx, restore.path, now.content, expect=written)
    found = await read_file(ctx, restore.path)
    if found.sha256 != now.sha256:
        raise Conflict(
            f"{restore.path} on {ctx.device.hostname} could not be put back as it was; it has another content now.",
            hint="Look at config_history: the state before is a version there.",
        )


async def _keep_after(restore: _Restore) -> Snapshot | None:
    found = await read_file(restore.ctx, restore.path)
    return await _keep(restore, found, found.content, ours=found.sha256 == restore.target.content_hash)


def _answer(
    restore: _Restore,
    difference: Compared,
    params: RestoreParams,
    *,
    changed: bool,
    validated_by: str,
    message: str,
    before: Snapshot | None = None,
    after: Snapshot | None = None,
) -> Restored:
    return Restored(
        device=restore.ctx.device.hostname,
        path=restore.path,
        dry_run=params.dry_run,
        changed=changed,
        version=restore.target.id,
        before_sha256=restore.now.sha256 if restore.now.exists else ABSENT,
        before_version=before.id if before else None,
        after_version=after.id if after else None,
        about=difference.about,
        differences=difference.lines[:30],
        diff=difference.diff.text,
        validated_by=validated_by,
        message=message,
    )
