"""What is watched of a device's files."""

from collections.abc import Sequence
from datetime import timedelta

from pydantic import Field

from infrastructor.domains.configs.discovery import candidates, watches
from infrastructor.domains.configs.discovery_commands import (
    FindFolders,
    InspectMounts,
    ListServices,
    PodmanInspectMounts,
    QueryMounts,
)
from infrastructor.domains.configs.models import ConfigPath, Discovery, WatchChange, WatchList, WatchRow
from infrastructor.domains.devices.commands import FindConfigs
from infrastructor.errors import CommandNotAvailable, DataCollectionError, DeviceNotFound
from infrastructor.operation import PLAIN, Cache, CachedParams, Context, DeviceName, DeviceParams, Params, operation
from infrastructor.paging import Cursor, Limit, fitting, page_within
from infrastructor.ports.callers import Effect
from infrastructor.ports.devices import Device
from infrastructor.snapshot_store import REFUSED, ConfigWatch

USER = "user"
_MOST_PATTERNS = 50
_FOUND, _BESIDE = 16_000, 8_000  # characters of what is found, and of each list beside it


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
    await ctx.watches.remove_watch(ctx.device.id, params.path, REFUSED)
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
    if gone and params.source not in {USER, REFUSED}:
        await ctx.watches.add_watch(ConfigWatch(device_id=ctx.device.id, path=params.path, source=REFUSED))
    return WatchChange(
        device=ctx.device.hostname,
        path=params.path,
        changed=gone,
        message=_removed(params.source)
        if gone
        else f"It was not watched for {params.source!r}; config_watch_list tells what is.",
    )


def _removed(source: str) -> str:
    if source == REFUSED:
        return "Discovery may watch it again."
    if source == USER:
        return "It is no longer watched; its history stays."
    return "It is no longer watched, and discovery leaves it alone; its history stays."


class DiscoverParams(CachedParams):
    """Input of config_watch_discover."""


@operation(
    name="config_watch_discover",
    effect=Effect.READ,
    route="GET /api/configs/{device}/discovery",
    cache=Cache("config_discovery", timedelta(hours=1)),
    commands=(FindConfigs, FindFolders, ListServices, InspectMounts, PodmanInspectMounts),
    queries=(QueryMounts,),
)
async def config_watch_discover(ctx: Context, params: DiscoverParams) -> Discovery:
    """Find and watch configuration of a device: SWAG, stacks, appdata, mounted files, nginx, Apache, Traefik."""
    paths = await ctx.run(FindConfigs())
    try:
        containers = (await ctx.ask(QueryMounts())).value
        problem = None
    except DataCollectionError as error:  # without an engine there is still the rest
        containers, problem = (), None if isinstance(error, CommandNotAvailable) else error.one_line()
    asked = candidates(containers)
    folders = await ctx.run(FindFolders(asked)) if asked else ()
    appdata = tuple(one.path for one in paths if one.kind == "appdata")
    services = await ctx.run(ListServices(appdata)) if appdata else ()
    known = {(watch.path, watch.source): watch for watch in await ctx.watches.watches(ctx.device.id)}
    found = [
        one for one in watches(ctx.device.id, paths, containers, folders, services) if (one.path, REFUSED) not in known
    ]
    added = [one.path for one in found if (one.path, one.source) not in known]
    for one in found:
        if known.get((one.path, one.source)) != one:
            await ctx.watches.add_watch(one)
    whole = {source: sorted(one.path for one in found if one.source == source) for source in _sources(found)}
    refused = sorted(path for path, source in known if source == REFUSED)
    shown = {source: fitting(rows, _FOUND // len(whole)) for source, rows in whole.items()}
    told, left = fitting(sorted(added), _BESIDE), fitting(refused, _BESIDE)
    return Discovery(
        device=ctx.device.hostname,
        found=shown,
        added=told,
        refused=left,
        omitted=sum(map(len, (*whole.values(), added, refused))) - sum(map(len, (*shown.values(), told, left))),
        problem=problem,
    )


def _sources(found: Sequence[ConfigWatch]) -> list[str]:
    return sorted({one.source for one in found})
