"""What should be so: baselines, and drift from them."""

from pydantic import Field

from infrastructor.domains.configs.comparison import differences
from infrastructor.domains.configs.models import (
    BaselineChange,
    BaselineList,
    BaselineRow,
    ConfigDrift,
    ConfigPath,
    DriftRow,
)
from infrastructor.domains.configs.sides import baseline_of, shown_at
from infrastructor.domains.configs.watching import device_named
from infrastructor.errors import NotFound, ValidationFailed
from infrastructor.operation import PLAIN, Context, DeviceName, DeviceParams, Params, operation
from infrastructor.paging import Cursor, Limit, page_within
from infrastructor.ports.callers import Effect
from infrastructor.snapshot_store import Baseline, Snapshot
from infrastructor.times import When, moment

_PERMISSIONS = 0o7777


class BaselineSetParams(DeviceParams):
    """Input of config_baseline_set."""

    path: ConfigPath = Field(default="/", description="A file, or a folder with all below.", json_schema_extra=PLAIN)
    at: When = Field(default="0s", description="As it was then; left out: as it is now.")
    note: str | None = Field(default=None, max_length=200, description="Why.", json_schema_extra=PLAIN)


@operation(
    name="config_baseline_set",
    effect=Effect.CHANGE,
    route="POST /api/configs/{device}/baselines",
    registration_only=True,
)
async def config_baseline_set(ctx: Context, params: BaselineSetParams) -> BaselineChange:
    """Declare how a file, a folder or a whole device should be. config_drift tells what differs from it."""
    time = moment(params.at, ctx.now, "at")
    if time > ctx.now:
        raise ValidationFailed(f"at is in the future: {time:%FT%TZ}.")
    files = await ctx.snapshots.tree(ctx.device.id, time, params.path)
    if not files:
        raise NotFound(
            f"Nothing was known of {params.path} on {ctx.device.hostname} at {shown_at(time)}.",
            hint="Watch it with config_watch_add first; config_file_list names what is known.",
        )
    new = await ctx.baselines.pin(
        Baseline(
            device_id=ctx.device.id,
            path=params.path,
            time=time,
            pinned_by=ctx.caller.principal,
            pinned_at=ctx.now,
            note=params.note,
        )
    )
    return BaselineChange(
        device=ctx.device.hostname,
        path=params.path,
        files=len(files),
        message=f"It should be as it was at {shown_at(time)}" + ("." if new else "; the baseline before is replaced."),
    )


class BaselineRemoveParams(DeviceParams):
    """Input of config_baseline_remove."""

    path: ConfigPath = "/"


@operation(
    name="config_baseline_remove",
    effect=Effect.CHANGE,
    route="POST /api/configs/{device}/baselines/remove",
    registration_only=True,
)
async def config_baseline_remove(ctx: Context, params: BaselineRemoveParams) -> BaselineChange:
    """Take a baseline back: nothing is declared of that path any more. The history stays."""
    if not await ctx.baselines.unpin(ctx.device.id, params.path):
        raise NotFound(f"{ctx.device.hostname} has no baseline of {params.path}.", hint="See config_baseline_list.")
    return BaselineChange(device=ctx.device.hostname, path=params.path, files=0, message="Its baseline is gone.")


class BaselineListParams(Params):
    """Input of config_baseline_list."""

    device: DeviceName | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


@operation(name="config_baseline_list", effect=Effect.READ, route="GET /api/configs/baselines")
async def config_baseline_list(ctx: Context, params: BaselineListParams) -> BaselineList:
    """List what was declared to be right. Ask config_drift what differs from it."""
    device = await device_named(ctx, params.device)
    names = {one.id: one.hostname for one in await ctx.devices.all()}
    found = await ctx.baselines.baselines(None if device is None else device.id)
    rows = [
        BaselineRow(
            device=names[one.device_id],
            path=one.path,
            time=one.time,
            pinned_by=one.pinned_by,
            pinned_at=one.pinned_at,
            note=one.note,
        )
        for one in found
        if one.device_id in names
    ]
    rows.sort(key=lambda row: (row.device, row.path))
    shown, cursor = page_within(rows, params.limit, params.cursor)
    return BaselineList(baselines=shown, next_cursor=cursor)


class DriftParams(DeviceParams):
    """Input of config_drift."""

    path: ConfigPath = Field(default="/", description="A file, or a folder with all below.", json_schema_extra=PLAIN)
    against: DeviceName | None = Field(default=None, description="Another device, instead of the baseline.")
    limit: int = Field(default=30, ge=1, le=100, description="Rows at most.", json_schema_extra=PLAIN)
    cursor: Cursor | None = None


@operation(name="config_drift", effect=Effect.READ, route="GET /api/configs/{device}/drift")
async def config_drift(ctx: Context, params: DriftParams) -> ConfigDrift:
    """List files that differ from the baseline, or from another device. Details of one: config_diff."""
    other = await device_named(ctx, params.against)
    if other is None:
        pinned = await baseline_of(ctx, params.path)
        wanted = await ctx.snapshots.tree(ctx.device.id, pinned.time, params.path)
        against = f"the baseline of {pinned.path} at {shown_at(pinned.time)}"
    else:
        wanted = await ctx.snapshots.tree(other.id, ctx.now, params.path)
        against = f"{other.hostname} now"
    current = {one.path: one for one in await ctx.snapshots.tree(ctx.device.id, ctx.now, params.path)}
    should = {one.path: one for one in wanted}
    drifted: list[str] = []
    by_operations = 0
    for path in sorted(current.keys() | should.keys()):
        have, want = current.get(path), should.get(path)
        if have is not None and want is not None and _alike(have, want, attributes=other is None):
            continue
        if other is None and have is not None and have.operation_id is not None:
            by_operations += 1
            continue
        drifted.append(path)
    start = int(params.cursor or 0)
    rows = await _rows(ctx, drifted[start : start + params.limit], current, should)
    shown, _ = page_within(rows, params.limit, None)
    end = start + len(shown)
    return ConfigDrift(
        device=ctx.device.hostname,
        path=params.path,
        against=against,
        same=len(current.keys() | should.keys()) - len(drifted) - by_operations,
        by_operations=by_operations,
        drifted=len(drifted),
        files=shown,
        next_cursor=str(end) if end < len(drifted) else None,
    )


def _alike(have: Snapshot, want: Snapshot, *, attributes: bool) -> bool:
    """The same content; of one device also the same mode and owner, which differ between devices for good reasons."""
    if (have.holding, have.content_hash, have.target) != (want.holding, want.content_hash, want.target):
        return False
    return not attributes or (_mode(have), have.uid, have.gid) == (_mode(want), want.uid, want.gid)


def _mode(one: Snapshot) -> int | None:
    return None if one.mode is None else one.mode & _PERMISSIONS


async def _rows(
    ctx: Context, paths: list[str], current: dict[str, Snapshot], should: dict[str, Snapshot]
) -> list[DriftRow]:
    both = [path for path in paths if path in current and path in should]
    told = dict(zip(both, await differences(ctx, [(current[path], should[path]) for path in both]), strict=True))
    rows = []
    for path in paths:
        have = current.get(path)
        about, what = told.get(path, ([], []))
        rows.append(
            DriftRow(
                path=path,
                state="missing" if have is None else "changed" if path in should else "extra",
                about=about,
                what=what,
                at=have.time if have is not None else None,
            )
        )
    return rows
