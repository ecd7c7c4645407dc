"""Operations that look at containers. What changes them is in `change_operations`."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from infrastructor.completion import Source, listed
from infrastructor.domains.containers import health, listing, record, statistics
from infrastructor.domains.containers.cgroups import Cgroups, Reading
from infrastructor.domains.containers.change_operations import (
    container_exec,
    container_remove,
    container_restart,
    container_start,
    container_stop,
)
from infrastructor.domains.containers.commands import (
    InspectContainers,
    ListContainers,
    PodmanInspectContainers,
    PodmanListContainers,
    PodmanReadStats,
    ReadCgroups,
    ReadCgroupsTwice,
    ReadStats,
    engine_of,
)
from infrastructor.domains.containers.history import container_history
from infrastructor.domains.containers.inspection import Inspection
from infrastructor.domains.containers.log_operations import container_logs
from infrastructor.domains.containers.models import (
    CONTAINERS,
    ONE_CONTAINER,
    ContainerDetail,
    ContainerHealth,
    ContainerList,
    ContainerRef,
    ContainerStats,
    ContainerUse,
)
from infrastructor.domains.containers.queries import QueryContainer, QueryContainers
from infrastructor.domains.containers.reach import ask, choose, inspect, run
from infrastructor.domains.containers.rows import Row
from infrastructor.errors import CommandFailed, NotFound
from infrastructor.operation import PLAIN, Cache, CachedParams, Context, Operation, operation
from infrastructor.paging import ROWS_BUDGET, Cursor, Limit, characters, page_within
from infrastructor.ports.callers import Effect, Interface
from infrastructor.ports.ssh import Via

_TTL = timedelta(seconds=30)
_LIST = (ListContainers, PodmanListContainers)
_LOOK = (*_LIST, InspectContainers, PodmanInspectContainers)
_FRESH_S = 120.0  # a CPU share over longer than this says little about now
_SHORTEST_S = 0.2  # over less, the kernel's clock of 10 ms makes it wrong


class ListParams(CachedParams):
    """Input of container_list."""

    state: Literal["all", "problem", "running", "unhealthy", "exited", "created", "paused"] = Field(
        default="all", description="Only these.", json_schema_extra=PLAIN
    )
    name: str | None = Field(default=None, max_length=128, description="Part of the name.")
    stack: str | None = Field(default=None, max_length=128, description="Compose project.")
    label: str | None = Field(default=None, max_length=500, description="key or key=value.")
    detail: bool = Field(default=False, description="More columns.", json_schema_extra=PLAIN)
    limit: Limit = 100
    cursor: Cursor | None = None


@operation(
    name="container_list",
    effect=Effect.READ,
    route="GET /api/containers/{device}",
    resource_uri="docker://{device}",
    changed_by=(CONTAINERS,),
    cache=Cache("containers", _TTL),
    commands=_LIST,
    queries=(QueryContainers,),
)
async def container_list(ctx: Context, params: ListParams) -> ContainerList:
    """List Docker or Podman containers, problems first: image, state, ports, stack. Start here."""
    reply = await ask(ctx, QueryContainers())
    rows = listing.matching(reply.value, state=params.state, name=params.name, stack=params.stack, label=params.label)
    problems = listing.problems(rows)
    shown, next_cursor = page_within(
        [listing.shown(row, detail=params.detail) for row in rows],
        params.limit,
        params.cursor,
        ROWS_BUDGET - characters(problems),
    )
    return ContainerList(
        device=ctx.device.hostname,
        engine=engine_of(await ctx.links.capabilities(ctx.device)),
        via=reply.via,
        counts=listing.counts(reply.value),
        problems=problems,
        containers=shown,
        total=len(rows),
        next_cursor=next_cursor,
    )


class GetParams(CachedParams):
    """Input of container_get."""

    container: ContainerRef


@operation(
    name="container_get",
    effect=Effect.READ,
    route="GET /api/containers/{device}/{container}",
    resource_uri="docker://{device}/containers/{container}",
    changed_by=(ONE_CONTAINER,),
    cache=Cache("container_detail", _TTL),
    commands=_LOOK,
    queries=(QueryContainers, QueryContainer),
)
async def container_get(ctx: Context, params: GetParams) -> ContainerDetail:
    """Show one container: state, health log, ports, mounts, networks, limits, environment. Secrets are masked."""
    reply = await inspect(ctx, params.container)
    return reply.value.detail(ctx.device.hostname, reply.via)


class StatsParams(CachedParams):
    """Input of container_stats."""

    container: ContainerRef | None = None
    sort: Literal["cpu", "memory", "name"] = Field(default="cpu", description="Order.", json_schema_extra=PLAIN)
    limit: Limit = 50
    cursor: Cursor | None = None


@operation(
    name="container_stats",
    effect=Effect.READ,
    route="GET /api/containers/{device}/stats",
    resource_uri="docker://{device}/stats",
    cache=Cache("container_stats", timedelta(seconds=10)),
    commands=(*_LOOK, ReadCgroups, ReadCgroupsTwice, ReadStats, PodmanReadStats),
    queries=(QueryContainers, QueryContainer),
)
async def container_stats(ctx: Context, params: StatsParams) -> ContainerStats:
    """Show CPU, memory, I/O and throttling of running containers now. Use container_health for what is wrong."""
    reply = await ask(ctx, QueryContainers())
    wanted = reply.value if params.container is None else [choose(reply.value, params.container, ctx.device.hostname)]
    running = [row for row in wanted if row.state in {"running", "paused"}]
    cgroups, before = await _read(ctx, running)
    uses = statistics.from_cgroups(running, before, cgroups.last, cgroups.memory_total)
    source: Literal["cgroup", "engine"] = "cgroup"
    if running and not uses:
        source, before = "engine", None
        uses = statistics.from_engine(running, await run(ctx, ReadStats()))
    if ctx.caller.interface is Interface.SCHEDULER:
        await record.keep(ctx, reply.value, uses)
    shown, next_cursor = page_within(sorted(uses, key=_order(params.sort)), params.limit, params.cursor)
    memory = statistics.total(use.memory_bytes for use in uses)
    return ContainerStats(
        device=ctx.device.hostname,
        via=reply.via,
        source=source,
        cpus=cgroups.cpus,
        memory_total_bytes=cgroups.memory_total,
        sampled_over_seconds=None if before is None else round(cgroups.last.uptime_s - before.uptime_s, 2),
        running=len(running),
        cpu_percent=statistics.total(use.cpu_percent for use in uses),
        memory_bytes=None if memory is None else int(memory),
        containers=shown,
        total=len(uses),
        next_cursor=next_cursor,
    )


async def _read(ctx: Context, running: list[Row]) -> tuple[Cgroups, Reading | None]:
    """Counters now, and an earlier reading to compare them with: a remembered one, or one taken just before.

    The last two that are far enough apart are remembered, so that quick questions find one that is old enough.
    """
    kept: tuple[Reading, ...] = ctx.recall() or ()
    if any(all(row.id in reading.containers for row in running) for reading in kept):
        cgroups = await ctx.run(ReadCgroups())
        now = cgroups.last.uptime_s
        for reading in reversed(kept):
            known = all(row.id in reading.containers for row in running)
            if known and _SHORTEST_S <= now - reading.uptime_s <= _FRESH_S:
                if now - kept[-1].uptime_s >= _SHORTEST_S:
                    ctx.remember((kept[-1], cgroups.last))
                return cgroups, reading
    cgroups = await ctx.run(ReadCgroupsTwice())
    ctx.remember(cgroups.readings)
    return cgroups, cgroups.readings[0] if len(cgroups.readings) > 1 else None


class HealthParams(CachedParams):
    """Input of container_health."""

    stack: str | None = Field(default=None, max_length=128, description="Compose project.")


@operation(
    name="container_health",
    effect=Effect.READ,
    route="GET /api/containers/{device}/health",
    resource_uri="docker://{device}/health",
    changed_by=(CONTAINERS,),
    cache=Cache("container_health", _TTL),
    commands=(*_LOOK, ReadCgroups),
    queries=(QueryContainers, QueryContainer),
)
async def container_health(ctx: Context, params: HealthParams) -> ContainerHealth:
    """Tell what is wrong with containers: restart loops, OOM kills, failed checks. Healthy ones are only counted."""
    reply = await ask(ctx, QueryContainers())
    rows = [row for row in reply.value if params.stack is None or row.stack == params.stack]
    found = await _inspect_all(ctx, reply.via, rows)
    cgroups = await ctx.run(ReadCgroups())
    problems = health.problems(found, cgroups.last.containers, ctx.now)
    shown, _ = page_within(problems, len(problems), None)
    running = [one for one in found if one.state.status == "running"]
    return ContainerHealth(
        device=ctx.device.hostname,
        via=reply.via,
        verdict=health.verdict(problems),
        total=len(found),
        running=len(running),
        healthy=sum(1 for one in running if one.state.health == "healthy"),
        unchecked=sum(1 for one in running if one.state.health is None),
        ended_well=sum(1 for one in found if one.state.status == "exited" and one.state.exit_code == 0),
        without_memory_limit=sum(1 for one in running if one.limits.memory_bytes is None),
        problems=shown,
        omitted=len(problems) - len(shown),
    )


async def _inspect_all(ctx: Context, via: Via, rows: list[Row]) -> list[Inspection]:
    """One question a container where they cost a millisecond, one command for all where they are programs."""
    if not rows:
        return []
    if via is Via.CLI:
        try:
            return await _inspect_by_program(ctx, rows)
        except CommandFailed:
            # One that went meanwhile fails the whole line: once more, for those that are still there.
            left = {row.id for row in (await ask(ctx, QueryContainers())).value}
            return await _inspect_by_program(ctx, [row for row in rows if row.id in left])
    answers = await asyncio.gather(*(_inspect_one(ctx, row.id) for row in rows))
    return [one for one in answers if one is not None]


async def _inspect_by_program(ctx: Context, rows: list[Row]) -> list[Inspection]:
    return list(await run(ctx, InspectContainers(containers=tuple(row.id for row in rows)))) if rows else []


async def _inspect_one(ctx: Context, container: str) -> Inspection | None:
    try:
        return (await ask(ctx, QueryContainer(container=container))).value[0]
    except (NotFound, IndexError):
        return None  # it went meanwhile


def _order(sort: str) -> Any:
    def key(use: ContainerUse) -> tuple[float, str]:
        value = {"cpu": use.cpu_percent, "memory": use.memory_bytes}.get(sort)
        return -(value or 0.0), use.name

    return key


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    container_list,
    container_stats,
    container_health,
    container_get,
    container_history,
    container_logs,
    container_start,
    container_stop,
    container_restart,
    container_remove,
    container_exec,
)

COMPLETIONS: Mapping[str, Source] = {
    "container": listed(container_list, lambda found: [row.name for row in found.containers], limit=500)
}
