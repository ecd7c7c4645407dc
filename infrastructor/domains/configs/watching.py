"""What is watched of a device's files."""

from pydantic import Field

from infrastructor.domains.configs.models import ConfigPath, WatchChange, WatchList, WatchRow
from infrastructor.errors import DeviceNotFound
from infrastructor.operation import PLAIN, Context, DeviceName, DeviceParams, Params, operation
from infrastructor.paging import Cursor, Limit, page_within
from infrastructor.ports import Device, Effect
from infrastructor.snapshot_store import ConfigWatch

USER = "user"
_MOST_PATTERNS = 50


class WatchListParams(Params):
    """Input of config_watch_list."""

    device: DeviceName | None = None
    limit: Limit = 100
    cursor: Cursor | None = None


async def device_named(ctx: Context, name: str | None) -> Device | None:
    """The device of an optional parameter. Raises `DeviceNotFound`."""
    if name is None:
        return None
    device = await ctx.devices.find(name)
    if device is None:
        raise DeviceNotFound(f"No device is named {name!r}.")
    return device


@operation(name="config_watch_list", effect=Effect.READ, route="GET /api/configs/watches")
async def config_watch_list(ctx: Context, params: WatchListParams) -> WatchList:
    """List the folders and files that are watched for changes. Add more with config_watch_add."""
    device = await device_named(ctx, params.device)
    names = {one.id: one.hostname for one in await ctx.devices.all()}
    found = await ctx.watches.watches(None if device is None else device.id)
    rows = [
        WatchRow(
            device=names[watch.device_id],
            path=watch.path,
            source=watch.source,
            recursive=watch.recursive,
            include=list(watch.include) or None,
            exclude=list(watch.exclude) or None,
        )
        for watch in found
        if watch.device_id in names
    ]
    rows.sort(key=lambda row: (row.device, row.path, row.source))
    shown, cursor = page_within(rows, params.limit, params.cursor)
    return WatchList(watches=shown, next_cursor=cursor)


class WatchAddParams(DeviceParams):
    """Input of config_watch_add."""

    path: ConfigPath
    recursive: bool = Field(default=True, description="With folders below.", json_schema_extra=PLAIN)
    include: tuple[str, ...] = Field(default=(), max_length=_MOST_PATTERNS, description="Only names like *.conf.")
    exclude: tuple[str, ...] = Field(
        default=(), max_length=_MOST_PATTERNS, description="No names like these.", json_schema_extra=PLAIN
    )


@operation(
    name="config_watch_add",
    effect=Effect.CHANGE,
    route="POST /api/configs/{device}/watches",
    registration_only=True,
)
async def config_watch_add(ctx: Context, params: WatchAddParams) -> WatchChange:
    """Watch a folder or file of a device: from then on every version is kept. Nothing is changed on the device."""
    watch = ConfigWatch(
        device_id=ctx.device.id,
        path=params.path,
        source=USER,
        recursive=params.recursive,
        include=params.include,
        exclude=params.exclude,
    )
    new = await ctx.watches.add_watch(watch)
    return WatchChange(
        device=ctx.device.hostname,
        path=params.path,
        changed=new,
        message="It is watched from now on." if new else "It was watched already; its patterns are as given now.",
    )


class WatchRemoveParams(DeviceParams):
    """Input of config_watch_remove."""

    path: ConfigPath
    source: str = Field(default=USER, max_length=40, description="As config_watch_list says.", json_schema_extra=PLAIN)


@operation(
    name="config_watch_remove",
    effect=Effect.CHANGE,
    route="POST /api/configs/{device}/watches/remove",
    registration_only=True,
)
async def config_watch_remove(ctx: Context, params: WatchRemoveParams) -> WatchChange:
    """Stop watching a folder or file. Its history stays, and can still be asked."""
    gone = await ctx.watches.remove_watch(ctx.device.id, params.path, params.source)
    return WatchChange(
        device=ctx.device.hostname,
        path=params.path,
        changed=gone,
        message="It is no longer watched; its history stays."
        if gone
        else f"It was not watched for {params.source!r}; config_watch_list tells what is.",
    )
