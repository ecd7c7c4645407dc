"""Comparing versions, devices and baselines; searching in all of them."""

from typing import Any

from pydantic import Field

from infrastructor.domains.configs.comparison import compared
from infrastructor.domains.configs.file_commands import ReadFile
from infrastructor.domains.configs.models import (
    ConfigDiff,
    ConfigPath,
    ConfigSearch,
    DiffSide,
    SearchRow,
    VersionRef,
)
from infrastructor.domains.configs.sides import LATEST, PREVIOUS, Side, resolve
from infrastructor.domains.configs.watching import device_named
from infrastructor.errors import DeviceNotFound
from infrastructor.fleet import Selector, select
from infrastructor.operation import PLAIN, Context, DeviceName, DeviceParams, Params, operation
from infrastructor.paging import ROWS_BUDGET
from infrastructor.ports.callers import Effect
from infrastructor.snapshot_store import SearchHit

_LONGEST_LINE = 300


class DiffParams(DeviceParams):
    """Input of config_diff."""

    path: ConfigPath
    old: VersionRef | None = None
    new: VersionRef | None = Field(default=None, description="The same as old.", json_schema_extra=PLAIN)
    to_device: DeviceName | None = Field(default=None, description="Compare with this device's.")
    to_path: ConfigPath | None = Field(default=None, description="Compare with another path.", json_schema_extra=PLAIN)
    context: int = Field(default=3, ge=0, le=20, description="Unchanged lines around.", json_schema_extra=PLAIN)


@operation(
    name="config_diff",
    effect=Effect.READ,
    route="GET /api/configs/{device}/diff",
    commands=(ReadFile,),
)
async def config_diff(ctx: Context, params: DiffParams) -> ConfigDiff:
    """Compare two versions of a file, two devices, or live against stored: unified and by meaning.

    Without old and new: the last change, or the newest of both devices.
    """
    other = await device_named(ctx, params.to_device)
    elsewhere = other is not None or params.to_path is not None
    old = await resolve(ctx, params.path, params.old or (LATEST if elsewhere else PREVIOUS))
    there = ctx if other is None else ctx.on(other)
    new = await resolve(there, params.to_path or params.path, params.new or LATEST)
    found = await compared(old, new, ctx.masker, context=params.context)
    return ConfigDiff(
        old=_side(old),
        new=_side(new),
        same=found.same,
        about=found.about,
        differences=found.lines,
        differences_omitted=found.omitted,
        diff=found.diff.text,
        lines_added=found.diff.added,
        lines_removed=found.diff.removed,
        lines_omitted=found.diff.omitted,
        problem=found.problem,
    )


def _side(side: Side) -> DiffSide:
    return DiffSide(
        device=side.device,
        path=side.path,
        version=side.snapshot.id if side.snapshot else None,
        at=side.snapshot.time if side.snapshot else None,
        exists=side.exists,
    )


class SearchParams(Params):
    """Input of config_search."""

    query: str = Field(min_length=1, max_length=300, description="Text to find; case ignored.", json_schema_extra=PLAIN)
    regex: bool = Field(default=False, description="query is a regular expression.", json_schema_extra=PLAIN)
    ever: bool = Field(default=False, description="In all versions there ever were.", json_schema_extra=PLAIN)
    selector: Selector = "*"
    under: ConfigPath | None = Field(default=None, description="Only below this folder.", json_schema_extra=PLAIN)
    limit: int = Field(default=50, ge=1, le=200, description="Lines at most.", json_schema_extra=PLAIN)


@operation(name="config_search", effect=Effect.READ, route="GET /api/configs/search")
async def config_search(ctx: Context, params: SearchParams) -> ConfigSearch:
    """Find text in the configuration of all devices, now or ever. Use it for who uses an image, port or name."""
    devices = await ctx.devices.all()
    chosen = select(devices, params.selector)
    if not devices:
        raise DeviceNotFound("No device is registered.")
    names = {device.id: device.hostname for device in chosen}
    found = await ctx.snapshots.search(
        params.query,
        regex=params.regex,
        ever=params.ever,
        device_ids=None if params.selector == "*" else set(names),
        under=params.under,
        limit=params.limit,
    )
    rows: list[SearchRow] = []
    size = 0
    for hit in found.hits:
        row = _hit(hit, names.get(hit.snapshot.device_id, str(hit.snapshot.device_id)), ever=params.ever)
        size += len(row.model_dump_json()) + 1
        if size > ROWS_BUDGET:
            return ConfigSearch(hits=rows, complete=False)
        rows.append(row)
    return ConfigSearch(hits=rows, complete=found.complete)


def _hit(hit: SearchHit, device: str, *, ever: bool) -> SearchRow:
    line = hit.line.strip()  # the store masks before it searches
    extra: dict[str, Any] = {"version": hit.snapshot.id, "at": hit.snapshot.time} if ever else {}
    return SearchRow(
        device=device,
        path=hit.snapshot.path,
        line_number=hit.line_number,
        line=line if len(line) <= _LONGEST_LINE else f"{line[:_LONGEST_LINE]}…",
        **extra,
    )
