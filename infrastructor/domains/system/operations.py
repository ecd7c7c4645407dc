"""Operations on the machine itself."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from time import monotonic
from typing import Any, Literal

from pydantic import Field

from infrastructor.domains.system import facts, metrics
from infrastructor.domains.system.commands import (
    ListBusyBoxProcesses,
    ListInitScripts,
    ListProcesses,
    ListRcServices,
    ListUnits,
    ReadFacts,
    ReadSample,
    StatMount,
)
from infrastructor.domains.system.models import (
    FailedService,
    Process,
    ProcessList,
    ServiceList,
    SystemInfo,
    SystemMetrics,
    Timer,
)
from infrastructor.domains.system.samples import Memory, Usage
from infrastructor.domains.system.units import ReadFailedUnits, ReadTimers
from infrastructor.errors import CommandNotAvailable, CommandTimeout, DataCollectionError
from infrastructor.operation import PLAIN, Cache, CachedParams, Context, Operation, operation
from infrastructor.paging import ROWS_BUDGET, Cursor, Limit, characters, fitting, page_within
from infrastructor.ports.callers import Effect

_FIRST_INTERVAL_S = 0.5  # a first run has nothing to compare with, so it looks twice
_STALE_INTERVAL_S = 600.0  # rates over longer than this say little about now
_HUNG_PAUSE_S = 300.0
_EXPLAINED = 10
_BESIDE = 10_000  # characters of failed services, and of timers


class InfoParams(CachedParams):
    """Input of system_info."""


@operation(
    name="system_info",
    effect=Effect.READ,
    route="GET /api/system/{device}/info",
    resource_uri="device://{device}/info",
    cache=Cache("system_info", timedelta(minutes=15)),
    commands=(ReadFacts,),
)
async def system_info(ctx: Context, params: InfoParams) -> SystemInfo:
    """Tell what a machine is: OS, kernel, hardware, CPU, memory size. Use system_metrics for how it is doing."""
    return facts.describe(ctx.device.hostname, await ctx.run(ReadFacts()), ctx.now)


class MetricsParams(CachedParams):
    """Input of system_metrics."""


@operation(
    name="system_metrics",
    effect=Effect.READ,
    route="GET /api/system/{device}/metrics",
    resource_uri="device://{device}/metrics",
    cache=Cache("system_metrics", timedelta(seconds=60)),
    commands=(ReadSample, StatMount),
)
async def system_metrics(ctx: Context, params: MetricsParams) -> SystemMetrics:
    """Show CPU, memory, disks, load, network and temperatures of a device now. Use fleet_overview for all devices."""
    memory: Memory | None = ctx.recall()
    if memory is None or monotonic() - memory.taken_at > _STALE_INTERVAL_S:
        hung = {} if memory is None else memory.hung_until
        memory = Memory(sample=await ctx.run(ReadSample()), taken_at=monotonic(), hung_until=hung)
        await asyncio.sleep(_FIRST_INTERVAL_S)
    sample = await ctx.run(ReadSample())
    now = Memory(sample=sample, taken_at=monotonic(), hung_until=memory.hung_until)
    remote = await _ask_remote_mounts(ctx, now)
    ctx.remember(now)
    result = metrics.compare(ctx.device.hostname, memory, now, remote)
    await ctx.metrics.add(metrics.history_row(ctx.device.id, ctx.now, result))
    return result


async def _ask_remote_mounts(ctx: Context, memory: Memory) -> dict[str, Usage | None]:
    """Usage of the mounts that may hang; one that hung is left alone for five minutes."""
    for path in [path for path, until in memory.hung_until.items() if until <= monotonic()]:
        del memory.hung_until[path]
    asked = [path for path in metrics.remote_paths(memory.sample) if path not in memory.hung_until]
    answers = await asyncio.gather(*(_ask_mount(ctx, path) for path in asked))
    for path, answer in zip(asked, answers, strict=True):
        if answer is None:
            memory.hung_until[path] = monotonic() + _HUNG_PAUSE_S
    return dict(zip(asked, answers, strict=True))


async def _ask_mount(ctx: Context, path: str) -> Usage | None:
    try:
        return await ctx.run(StatMount(path=path))
    except (CommandTimeout, CommandNotAvailable):
        return None  # hung beyond killing, or nothing there to bound the wait with


class ServiceListParams(CachedParams):
    """Input of service_list."""

    state: Literal["active", "failed", "inactive", "all"] = Field(
        default="active", description="Which to list; failed ones always show.", json_schema_extra=PLAIN
    )
    timers: bool = Field(default=False, description="Also systemd timers.", json_schema_extra=PLAIN)
    limit: Limit = 100
    cursor: Cursor | None = None


@operation(
    name="service_list",
    effect=Effect.READ,
    route="GET /api/system/{device}/services",
    resource_uri="device://{device}/services",
    cache=Cache("services", timedelta(seconds=60)),
    commands=(ListUnits, ListRcServices, ListInitScripts, ReadFailedUnits, ReadTimers),
)
async def service_list(ctx: Context, params: ServiceListParams) -> ServiceList:
    """List services of systemd, OpenRC or SysV with their state. Look at `failed` first when something is broken."""
    capabilities = await ctx.links.capabilities(ctx.device)
    # systemctl alone, as in many containers, has nobody to ask.
    if not capabilities.systemd and not {"rc-status", "service"} & capabilities.tools:
        raise CommandNotAvailable(
            f"{ctx.device.hostname} has no service manager that can be asked: no systemd, OpenRC or SysV scripts.",
            hint="BusyBox init keeps no state of what it started; process_list shows what runs.",
        )
    services = sorted(await ctx.run(ListUnits()), key=lambda service: service.name)
    matching = [service for service in services if params.state in ("all", service.state)]
    manager = "systemd" if capabilities.systemd else "openrc" if "rc-status" in capabilities.tools else "sysv"
    failed = [FailedService(**dict(service)) for service in services if service.state == "failed"]
    timers = None
    if capabilities.systemd:
        explained = await _explain(ctx, failed[:_EXPLAINED])
        failed = [explained.get(service.name, service) for service in failed]
        timers = sorted(await ctx.run(ReadTimers()), key=_by_due) if params.timers else None
    failed = fitting(failed, _BESIDE)
    timers_total = None if timers is None else len(timers)
    timers = None if timers is None else fitting(timers[: params.limit], _BESIDE)
    rows, next_cursor = page_within(
        matching, params.limit, params.cursor, ROWS_BUDGET - characters(failed) - characters(timers or ())
    )
    return ServiceList(
        device=ctx.device.hostname,
        manager=manager,
        counts=dict(Counter(service.state for service in services)),
        failed=failed,
        timers=timers,
        timers_total=timers_total,
        services=rows,
        total=len(matching),
        next_cursor=next_cursor,
    )


async def _explain(ctx: Context, failed: list[FailedService]) -> Mapping[str, FailedService]:
    """The reasons by unit; none rather than no list, when the device does not give them."""
    if not failed:
        return {}
    try:
        return await ctx.run(ReadFailedUnits(tuple(service.name for service in failed)))
    except DataCollectionError:
        return {}


def _by_due(timer: Timer) -> tuple[bool, float, str]:
    return not timer.overdue, timer.next.timestamp() if timer.next else float("inf"), timer.name


class ProcessListParams(CachedParams):
    """Input of process_list."""

    sort: Literal["cpu", "memory", "age", "pid"] = Field(
        default="cpu", description="Biggest first; pid ascending.", json_schema_extra=PLAIN
    )
    match: str | None = Field(default=None, max_length=200, description="Text in command or user.")
    limit: Limit = 30
    cursor: Cursor | None = None


@operation(
    name="process_list",
    effect=Effect.READ,
    route="GET /api/system/{device}/processes",
    cache=Cache("processes", timedelta(seconds=30)),
    commands=(ListProcesses, ListBusyBoxProcesses),
)
async def process_list(ctx: Context, params: ProcessListParams) -> ProcessList:
    """List the biggest processes of a device. Use it to find what eats CPU or memory that system_metrics shows."""
    processes = await ctx.run(ListProcesses())
    wanted = (params.match or "").lower()
    matching = [process for process in processes if wanted in f"{process.user} {process.command}".lower()]
    matching.sort(key=_ORDER[params.sort])
    rows, next_cursor = page_within(matching, params.limit, params.cursor)
    return ProcessList(
        device=ctx.device.hostname,
        states=dict(Counter(process.state[:1] for process in processes)),
        processes=rows,
        total=len(matching),
        next_cursor=next_cursor,
    )


def _by_cpu(process: Process) -> tuple[float, int]:
    return -(process.cpu_percent or 0.0), -process.memory_bytes


def _by_memory(process: Process) -> tuple[float, int]:
    return -process.memory_bytes, process.pid


def _by_age(process: Process) -> tuple[float, int]:
    return -(process.running_seconds or 0), process.pid


def _by_pid(process: Process) -> tuple[float, int]:
    return process.pid, 0


_ORDER = {"cpu": _by_cpu, "memory": _by_memory, "age": _by_age, "pid": _by_pid}

OPERATIONS: tuple[Operation[Any, Any], ...] = (system_info, system_metrics, service_list, process_list)
