"""Looking at files of configuration, now and at any time."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, StringConstraints

from infrastructor.domains.configs.comparison import tell
from infrastructor.domains.configs.file_commands import ReadFile
from infrastructor.domains.configs.models import (
    BlindRow,
    ConfigFile,
    ConfigHistory,
    ConfigPath,
    FileList,
    FileRow,
    VersionRow,
)
from infrastructor.domains.configs.sides import LATEST, Side, is_binary, read_live, resolve_stored, sha256_of, stored
from infrastructor.errors import NotFound, SSHConnectionError, ValidationFailed
from infrastructor.formats.kinds import KINDS
from infrastructor.formats.trees import NotUnderstood, parse
from infrastructor.operation import PLAIN, ChangedBy, Context, DeviceParams, operation
from infrastructor.paging import ROWS_BUDGET, Cursor, Limit, page_within
from infrastructor.ports.callers import Effect, Role
from infrastructor.snapshot_store import Change, Holding, Snapshot
from infrastructor.times import Until, When, moment

TEXT_BUDGET = 28_000  # characters of JSON
_VERSIONS = 50
IdCursor = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f-]{36}$"),
    Field(description="next_cursor of the last answer.", json_schema_extra=PLAIN),
]
Few = Annotated[int, Field(ge=1, le=100, description="Rows at most.", json_schema_extra=PLAIN)]
About = Annotated[str, Field(max_length=20, description="e.g. image, ports, auth; not cosmetic.")]
At = Annotated[str, StringConstraints(max_length=40), Field(description="As it was 2h ago, or at an ISO time.")]


class FileListParams(DeviceParams):
    """Input of config_file_list."""

    under: ConfigPath = Field(default="/", description="Only below this folder.", json_schema_extra=PLAIN)
    config_type: str | None = Field(
        default=None, max_length=20, description="e.g. compose, nginx, env.", json_schema_extra=PLAIN
    )
    at: At | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


@operation(name="config_file_list", effect=Effect.READ, route="GET /api/configs/{device}/files")
async def config_file_list(ctx: Context, params: FileListParams) -> FileList:
    """List the configuration files known of a device, now or at a time. Read one with config_get."""
    if params.config_type is not None and params.config_type not in KINDS:
        raise ValidationFailed(
            f"There is no type of configuration {params.config_type!r}.", hint=f"One of {', '.join(KINDS)}."
        )
    time = ctx.now if params.at is None else moment(params.at, ctx.now, "at")
    found = await ctx.snapshots.tree(ctx.device.id, time, params.under)
    counts = Counter(one.config_type for one in found)
    wanted = [one for one in found if params.config_type in (None, one.config_type)]
    start = int(params.cursor or 0)
    rows = [_file_row(one) for one in wanted[start : start + params.limit]]
    shown, _ = page_within(rows, params.limit, None)
    end = start + len(shown)
    return FileList(
        device=ctx.device.hostname,
        at=time,
        counts=dict(sorted(counts.items())),
        files=shown,
        next_cursor=str(end) if end < len(wanted) else None,
    )


def _file_row(one: Snapshot) -> FileRow:
    return FileRow(
        path=one.path,
        config_type=one.config_type,
        size_bytes=one.size_bytes,
        changed_at=one.time,
        holding=None if one.holding is Holding.CONTENT else one.holding.value,
        target=one.target,
        reason=one.reason,
    )


class GetParams(DeviceParams):
    """Input of config_get."""

    path: ConfigPath
    at: At | None = None
    line: int = Field(default=1, ge=1, description="First line shown.", json_schema_extra=PLAIN)
    parsed: bool = Field(default=False, description="As data instead of text.", json_schema_extra=PLAIN)
    reveal: bool = Field(default=False, description="Secrets too; admins only.", json_schema_extra=PLAIN)


@operation(
    name="config_get",
    effect=Effect.READ,
    route="GET /api/configs/{device}/file",
    resource_uri="config://{device}/{path*}{?at}",
    changed_by=(ChangedBy(topic="configs", subject="path"),),
    commands=(ReadFile,),
    guarded={"reveal": Role.ADMIN},
)
async def config_get(ctx: Context, params: GetParams) -> ConfigFile:
    """Read a watched file: from the device now, or as it was at a time. Secrets are masked."""
    problem = None
    if params.at is not None:
        side = await stored(ctx, await resolve_stored(ctx, params.path, params.at))
    else:
        try:
            side = await read_live(ctx, params.path)
        except SSHConnectionError as error:
            side = await stored(ctx, await resolve_stored(ctx, params.path, LATEST))
            problem = f"The device is out of reach ({error.code}); this is the newest version in the history."
    return await asyncio.to_thread(_file, ctx, side, await _newest(ctx, side), params, problem)


async def _newest(ctx: Context, side: Side) -> Snapshot | None:
    """The version in the history that this is; of a live file the newest, when it is the same."""
    if side.snapshot is not None:
        return side.snapshot
    latest = await ctx.snapshots.at(ctx.device.id, side.path, ctx.now)
    there = latest is not None and latest.change is not Change.DELETE
    return latest if there and latest is not None and latest.content_hash == sha256_of(side) else None


def _file(ctx: Context, side: Side, version: Snapshot | None, params: GetParams, problem: str | None) -> ConfigFile:
    fields: dict[str, Any] = {"problem": problem}
    if side.exists:
        fields |= _attributes(side)
        text = side.text
        if text is None:
            fields["problem"] = side.why or f"Its content is {'no text' if is_binary(side) else 'not kept'}."
        else:
            masked = ctx.masker.mask(side.kind, text, side.path)
            shown = text if params.reveal else masked.text
            fields["secrets_masked"] = 0 if params.reveal else masked.secrets
            fields |= _parsed(side.kind, shown) if params.parsed else _lines(shown, params.line)
            if problem and fields.get("problem") is None:
                fields["problem"] = problem
    return ConfigFile(
        device=side.device,
        path=side.path,
        source="history" if side.live is None else "device",
        exists=side.exists,
        config_type=side.kind if side.exists else None,
        version=version.id if version else None,
        changed_at=version.time if version else None,
        **fields,
    )


def _attributes(side: Side) -> dict[str, Any]:
    if side.live is not None:
        found = side.live
        values = (found.size_bytes, found.sha256, found.mode, found.uid, found.gid)
    elif side.snapshot is not None:
        one = side.snapshot
        values = (one.size_bytes, one.content_hash, one.mode, one.uid, one.gid)  # type: ignore[assignment]
    size, sha256, mode, uid, gid = values
    return {
        "size_bytes": size,
        "sha256": sha256,
        "mode": None if mode is None else f"{mode & 0o7777:o}",
        "owner": None if uid is None else f"{uid}:{gid}",
        "target": side.snapshot.target if side.snapshot else None,
    }


def _lines(text: str, first: int) -> dict[str, Any]:
    """The text from a line on, as much as an answer takes."""
    lines = text.splitlines(keepends=True)
    if first > max(1, len(lines)):
        raise ValidationFailed(f"line {first} is beyond the end: it has {len(lines)} lines.")
    chosen: list[str] = []
    size = 0
    for line in lines[first - 1 :]:
        size += len(line) + line.count('"') + line.count("\\") + 2
        if size > TEXT_BUDGET:
            if not chosen:
                chosen.append(f"{line[: TEXT_BUDGET // 2]}… ({len(line) - TEXT_BUDGET // 2} more characters)\n")
            break
        chosen.append(line)
    after = first + len(chosen)
    return {
        "text": "".join(chosen),
        "first_line": first,
        "lines": len(lines),
        "next_line": after if after <= len(lines) else None,
    }


def _parsed(kind: str, text: str) -> dict[str, Any]:
    try:
        tree = parse(kind, text)
    except NotUnderstood as error:
        return {"problem": f"It is no {kind} that could be read: {error}"}
    if len(str(tree)) > TEXT_BUDGET:
        return {"problem": "As data it is longer than an answer may be; read it as text."}
    return {"parsed": tree}


class HistoryParams(DeviceParams):
    """Input of config_history."""

    path: ConfigPath
    since: When | None = None
    until: Until | None = None
    about: About | None = None
    limit: Few = 20
    cursor: IdCursor | None = None


@operation(name="config_history", effect=Effect.READ, route="GET /api/configs/{device}/history")
async def config_history(ctx: Context, params: HistoryParams) -> ConfigHistory:
    """List the versions of a file, newest first, with what each changed. Compare two with config_diff."""
    now = ctx.now
    since = moment(params.since, now) if params.since else None
    until = moment(params.until, now, "until") if params.until else None
    found = await ctx.snapshots.history(
        device_id=ctx.device.id,
        path=params.path,
        since=since,
        until=until,
        about=params.about,
        before=as_id(params.cursor),
        limit=min(params.limit, _VERSIONS) + 1,
    )
    if not found and params.cursor is None and await ctx.snapshots.at(ctx.device.id, params.path, now) is None:
        raise NotFound(
            f"Nothing is known of {params.path} on {ctx.device.hostname}.",
            hint="config_file_list names the files that are known; config_watch_add watches more.",
        )
    rows, more = await version_rows(ctx, found, min(params.limit, _VERSIONS))
    blind: list[BlindRow] = []
    if rows:
        blind = await blind_rows(ctx, ctx.device.id, rows[-1].at, now if params.cursor is None else rows[0].at)
    return ConfigHistory(
        device=ctx.device.hostname,
        path=params.path,
        versions=[row for row in rows if params.about in {None, *row.about}],
        blind=blind[:20],
        next_cursor=str(rows[-1].id) if more else None,
    )


async def blind_rows(ctx: Context, device_id: UUID, since: datetime, until: datetime) -> list[BlindRow]:
    """The spans that touch a time. Empty ones only mark until when somebody watched."""
    spans = await ctx.snapshots.blind(device_id, since, until)
    return [BlindRow(begin=one.begin, end=one.end, reason=one.reason) for one in spans if one.begin < one.end]


async def version_rows(
    ctx: Context, found: Sequence[Snapshot], limit: int, names: Mapping[UUID, str] | None = None
) -> tuple[list[VersionRow], bool]:
    """Rows of a page, and whether there are more; with `names` they say their device and path."""
    rows: list[VersionRow] = []
    size = 0
    for told in await tell(ctx, found[:limit]):
        one = told.snapshot
        row = VersionRow(
            id=one.id,
            at=one.time,
            device=names.get(one.device_id, str(one.device_id)) if names is not None else None,
            path=one.path if names is not None else None,
            change=one.change.value,
            about=list(one.classes) or told.about,
            what=told.what,
            size_bytes=one.size_bytes,
            operation_id=one.operation_id,
        )
        size += len(row.model_dump_json()) + 1
        if size > ROWS_BUDGET and rows:
            return rows, True
        rows.append(row)
    return rows, len(found) > limit


def as_id(cursor: str | None) -> UUID | None:
    """The version a page ended with."""
    if cursor is None:
        return None
    try:
        return UUID(cursor)
    except ValueError as error:
        raise ValidationFailed(f"cursor is none of ours: {cursor!r}.") from error
