"""Operations on the device registry, and on one device as a whole. The fleet's are in `fleet_operations`."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from pydantic import Field

from infrastructor.completion import Source
from infrastructor.domains.devices import analysis
from infrastructor.domains.devices.commands import FindConfigs, ListComposeProjects, ListGpus, ReadClock, ReadVersions
from infrastructor.domains.devices.fleet_operations import fan_out_names, fleet_overview, fleet_run
from infrastructor.domains.devices.importing import device_import
from infrastructor.domains.devices.models import (
    Address,
    DeviceAdded,
    DeviceAnalysis,
    DeviceDetail,
    DeviceList,
    DeviceRemoved,
    DeviceRow,
    DeviceTest,
    Fingerprint,
    Hostname,
    KeyPath,
    Port,
    Tags,
    Text,
    Username,
    detail,
)
from infrastructor.domains.devices.registry import device_names
from infrastructor.domains.system.commands import ListInitScripts, ListRcServices, ListUnits
from infrastructor.errors import Conflict, DeviceNotFound, SSHConnectionError, ValidationFailed
from infrastructor.fleet import Selector, select
from infrastructor.ids import uuid7
from infrastructor.operation import (
    PLAIN,
    Cache,
    CachedParams,
    Context,
    DestroyParams,
    DeviceName,
    DeviceParams,
    Operation,
    Params,
    PlanDraft,
    operation,
)
from infrastructor.paging import Cursor, Limit, page_within
from infrastructor.ports.callers import Effect
from infrastructor.ports.devices import Device, HostKey, Transport
from infrastructor.protection import check_marks_kept

# What was collected from a device, and may be another machine's once its registration changes.
_COLLECTED = (
    *("system_metrics", "system_info", "services", "processes", "analysis", "drives", "packages"),
    *("containers", "container_detail", "container_stats", "container_health"),
    *("ports", "port_scan", "interfaces", "docker_networks", "dependencies"),
    *("proxies", "proxy_config", "proxy_templates", "proxy_samples", "proxy_summary"),
    *("stacks", "stack_detail", "config_discovery"),
    *("zfs_pools", "zfs_pool_status", "zfs_datasets", "zfs_dataset", "zfs_snapshots", "zfs_diff"),
    *("zfs_snapshot_usage", "zfs_health", "zfs_recommendations", "zfs_report"),
)


class DeviceListParams(Params):
    """Input of device_list."""

    selector: Selector = "*"
    limit: Limit = 100
    cursor: Cursor | None = None


@operation(name="device_list", effect=Effect.READ, route="GET /api/devices", resource_uri="fleet://devices")
async def device_list(ctx: Context, params: DeviceListParams) -> DeviceList:
    """List the registered devices with the state of their connection. Start here to learn which devices there are."""
    devices = select(await ctx.devices.all(), params.selector)
    rows, next_cursor = page_within([_row(ctx, device) for device in devices], params.limit, params.cursor)
    return DeviceList(devices=rows, total=len(devices), next_cursor=next_cursor)


def _row(ctx: Context, device: Device) -> DeviceRow:
    status = ctx.links.status(device.id)
    return DeviceRow(
        hostname=device.hostname,
        transport=device.transport,
        address=device.address,
        device_type=device.device_type,
        state=status.state,
        reason=status.reason,
        trusted=bool(device.host_keys) or device.transport is Transport.LOCAL,
        tags=device.tags,
    )


class DeviceGetParams(DeviceParams):
    """Input of device_get."""


@operation(name="device_get", effect=Effect.READ, route="GET /api/devices/{device}", resource_uri="device://{device}")
async def device_get(ctx: Context, params: DeviceGetParams) -> DeviceDetail:
    """Show how a device is registered and how its connection is. Use device_test to try it, system_info to ask it."""
    return detail(ctx.device, ctx.links.status(ctx.device.id))


class DeviceAddParams(Params):
    """Input of device_add."""

    hostname: Hostname
    address: Address | None = None
    ssh_port: Port = 22
    ssh_username: Username | None = None
    ssh_private_key_path: KeyPath | None = None
    jump: DeviceName | None = Field(default=None, description="Device to go through.")
    device_type: Text = Field(default="server", description="e.g. server, nas, vm.", json_schema_extra=PLAIN)
    description: Text | None = Field(default=None, description="Free text.", json_schema_extra=PLAIN)
    location: Text | None = Field(default=None, description="Free text.", json_schema_extra=PLAIN)
    monitoring_enabled: bool = Field(
        default=True, description="Collect its metrics on a schedule.", json_schema_extra=PLAIN
    )
    tags: Tags = Field(default_factory=dict)
    fingerprint: Fingerprint | None = Field(default=None, description="Host key to trust at once if shown.")


@operation(name="device_add", effect=Effect.CHANGE, route="POST /api/devices")
async def device_add(ctx: Context, params: DeviceAddParams) -> DeviceAdded:
    """Register a device and show its host keys; nothing is sent to it until one is trusted. Then call device_trust."""
    await _check_jump(ctx, params.hostname, params.jump)
    device = Device(
        id=uuid7(),
        address=params.address or params.hostname,
        created_at=ctx.now,
        updated_at=ctx.now,
        **params.model_dump(exclude={"address", "fingerprint"}),
    )
    if await ctx.devices.find(device.hostname) is not None:
        raise Conflict(f"A device named {device.hostname} exists.", hint="Use device_update, or another name.")
    offered, unreachable = await _scan(ctx, device)
    if params.fingerprint is not None:
        device = device.model_copy(update={"host_keys": (_pick(device, offered, params.fingerprint),)})
    await ctx.devices.add(device)
    return _added(ctx, device, offered, unreachable)


class DeviceTrustParams(DeviceParams):
    """Input of device_trust."""

    fingerprint: Fingerprint | None = Field(default=None, description="Key to trust; without it only shows them.")


@operation(
    name="device_trust",
    effect=Effect.CHANGE,
    route="POST /api/devices/{device}/trust",
    invalidates=_COLLECTED,
    registration_only=True,
)
async def device_trust(ctx: Context, params: DeviceTrustParams) -> DeviceAdded:
    """Show a device's host keys, or trust the one whose fingerprint is given. Compare it on the device's console."""
    device = ctx.device
    if device.transport is Transport.LOCAL:
        raise ValidationFailed(f"{device.hostname} is this machine; it has no host key.")
    offered = await ctx.links.scan_host_keys(device)
    if params.fingerprint is not None:
        chosen = _pick(device, offered, params.fingerprint)
        device = device.model_copy(update={"host_keys": (chosen,), "updated_at": ctx.now})
        await ctx.devices.update(device)
        await ctx.links.forget(device.id)
    return _added(ctx, device, offered, None)


class DeviceUpdateParams(DeviceParams):
    """Input of device_update."""

    hostname: Hostname | None = Field(default=None, description="New name.")
    address: Address | None = None
    ssh_port: Port | None = None
    ssh_username: Username | None = None
    ssh_private_key_path: KeyPath | None = None
    jump: DeviceName | None = Field(default=None, description="Device to go through.")
    device_type: Text | None = Field(default=None, description="e.g. server, nas, vm.", json_schema_extra=PLAIN)
    description: Text | None = Field(default=None, description="Free text.", json_schema_extra=PLAIN)
    location: Text | None = Field(default=None, description="Free text.", json_schema_extra=PLAIN)
    monitoring_enabled: bool | None = Field(
        default=None, description="Collect its metrics on a schedule.", json_schema_extra=PLAIN
    )
    tags: Tags | None = Field(default=None, description="All labels anew.")
    clear: tuple[str, ...] = Field(
        default=(),
        max_length=6,
        description="Fields to empty, e.g. jump or ssh_username.",
    )


_CLEARABLE = frozenset({"jump", "ssh_username", "ssh_private_key_path", "description", "location"})
_DIALLING = frozenset({"address", "ssh_port", "ssh_username", "ssh_private_key_path", "jump"})


@operation(
    name="device_update",
    effect=Effect.CHANGE,
    route="PATCH /api/devices/{device}",
    invalidates=_COLLECTED,
    registration_only=True,
)
async def device_update(ctx: Context, params: DeviceUpdateParams) -> DeviceDetail:
    """Change how a device is registered; fields left out stay. A trusted host key stays trusted."""
    unknown = set(params.clear) - _CLEARABLE
    if unknown:
        raise ValidationFailed(
            f"clear cannot empty {', '.join(sorted(unknown))}.", hint=f"One of: {sorted(_CLEARABLE)}."
        )
    changes: dict[str, Any] = params.model_dump(exclude={"device", "clear"}, exclude_none=True)
    if not changes and not params.clear:
        raise ValidationFailed("Nothing to change was given.", hint="Name at least one field, e.g. ssh_port.")
    await _check_jump(ctx, ctx.device.hostname, params.jump)
    changes |= dict.fromkeys(params.clear) | {"updated_at": ctx.now}
    device = ctx.device.model_copy(update=changes)
    check_marks_kept(ctx.device.tags, device.tags, ctx.caller)
    await ctx.devices.update(device)
    if _DIALLING & changes.keys():
        await ctx.links.forget(device.id)
    return detail(device, ctx.links.status(device.id))


async def _plan_removal(ctx: Context, params: "DeviceRemoveParams") -> PlanDraft:
    device = ctx.device
    dependent = [other.hostname for other in await ctx.devices.all() if other.jump == device.hostname]
    if dependent:
        raise Conflict(
            f"{device.hostname} is the jump host of {', '.join(dependent)}.",
            hint="Change their jump with device_update first.",
        )
    return PlanDraft(
        summary=f"Forget {device.hostname} ({device.address or 'this machine'}). Nothing on the device itself changes.",
        effects=(
            "Its registration, trusted host keys and labels are deleted.",
            "Its collected metrics are deleted.",
            "Its audit records stay.",
        ),
        fingerprint=device.updated_at.isoformat(),
        reversible=False,
    )


class DeviceRemoveParams(DestroyParams):
    """Input of device_remove."""


@operation(
    name="device_remove",
    effect=Effect.DESTROY,
    route="DELETE /api/devices/{device}",
    plan=_plan_removal,
    invalidates=_COLLECTED,
)
async def device_remove(ctx: Context, params: DeviceRemoveParams) -> DeviceRemoved:
    """Forget a device and its history; the machine itself is not touched. Without plan_token it only plans."""
    if not await ctx.devices.remove(ctx.device.id):
        raise DeviceNotFound(f"{ctx.device.hostname} was removed meanwhile.")
    await ctx.links.forget(ctx.device.id)
    return DeviceRemoved(status="done", hostname=ctx.device.hostname)


class DeviceTestParams(DeviceParams):
    """Input of device_test."""

    reconnect: bool = Field(default=False, description="Drop connection and waiting time first.")


@operation(name="device_test", effect=Effect.READ, route="GET /api/devices/{device}/test", commands=(ReadClock,))
async def device_test(ctx: Context, params: DeviceTestParams) -> DeviceTest:
    """Try whether a device can be worked with: host key, login, clock, tools, sudo. Each fault comes with its fix."""
    if params.reconnect:
        await ctx.links.forget(ctx.device.id)
    return await analysis.examine(ctx)


class DeviceAnalyzeParams(CachedParams):
    """Input of device_analyze."""


@operation(
    name="device_analyze",
    effect=Effect.READ,
    route="GET /api/devices/{device}/analysis",
    resource_uri="device://{device}/analysis",
    cache=Cache("analysis", timedelta(hours=1)),
    commands=(
        ReadVersions, ListGpus, FindConfigs, ListComposeProjects, ListUnits, ListRcServices, ListInitScripts,
    ),
)  # fmt: skip
async def device_analyze(ctx: Context, params: DeviceAnalyzeParams) -> DeviceAnalysis:
    """Find out what a device is for: tools, compose projects, GPUs, services, config paths. Cached an hour."""
    return await analysis.analyze(ctx)


async def _check_jump(ctx: Context, hostname: str, jump: str | None) -> None:
    """Raise unless the jump device exists and the way through it does not come back here."""
    seen = {hostname}
    while jump is not None:
        if jump in seen:
            raise ValidationFailed(f"The jump hosts form a circle through {jump}.")
        seen.add(jump)
        device = await ctx.devices.find(jump)
        if device is None:
            raise DeviceNotFound(f"The jump device {jump!r} is not registered.", hint="Add it first with device_add.")
        jump = device.jump


async def _scan(ctx: Context, device: Device) -> tuple[tuple[HostKey, ...], SSHConnectionError | None]:
    try:
        return await ctx.links.scan_host_keys(device), None
    except SSHConnectionError as error:
        return (), error


def _pick(device: Device, offered: tuple[HostKey, ...], fingerprint: str) -> HostKey:
    for key in offered:
        if key.fingerprint == fingerprint:
            return key
    shown = ", ".join(f"{key.algorithm} {key.fingerprint}" for key in offered) or "none"
    raise Conflict(
        f"{device.hostname} does not show the key {fingerprint}; it shows: {shown}.",
        hint="Nothing was trusted. Compare with 'ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub' on the device.",
    )


def _added(
    ctx: Context, device: Device, offered: tuple[HostKey, ...], unreachable: SSHConnectionError | None
) -> DeviceAdded:
    trusted = bool(device.host_keys)
    if trusted:
        step = "Call device_test, then ask for system_metrics."
    elif unreachable is not None:
        step = f"It did not answer ({unreachable.message}). Once it does, call device_trust."
    else:
        step = "Compare a fingerprint with the device's own, then call device_trust with it."
    return DeviceAdded(
        device=detail(device, ctx.links.status(device.id)),
        offered_keys=list(offered),
        trusted=trusted,
        next_step=step,
    )


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    device_list,
    device_get,
    device_add,
    device_trust,
    device_update,
    device_remove,
    device_test,
    device_analyze,
    device_import,
    fleet_run,
    fleet_overview,
)

COMPLETIONS: Mapping[str, Source] = {"device": device_names, "operation": fan_out_names}
