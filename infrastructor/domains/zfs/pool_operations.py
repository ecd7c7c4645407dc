"""Operations that look at pools."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from infrastructor.domains.devices.commands import ReadClock
from infrastructor.domains.zfs.commands import (
    ExamineZfs,
    ListPools,
    ListPoolsJson,
    ReadPoolStatus,
    ReadPoolStatusJson,
)
from infrastructor.domains.zfs.models import ONE_POOL, ZFS, Pool, PoolList, PoolName, PoolState, PoolStatus, Vdev
from infrastructor.domains.zfs.reach import asked, may_become_root, ran
from infrastructor.domains.zfs.status_json import PoolReading
from infrastructor.errors import CommandFailed, CommandNotAvailable, NotFound
from infrastructor.operation import Cache, CachedParams, Context, operation
from infrastructor.paging import ROWS_BUDGET, Cursor, Limit, characters, fitting, page_within
from infrastructor.ports.callers import Effect

STATUS = (ReadPoolStatus, ReadPoolStatusJson, ReadClock, ExamineZfs)
LIST = (ListPools, ListPoolsJson)

_FILES_BUDGET = 8_000
_WORDS_BUDGET = 4_000


class PoolListParams(CachedParams):
    """Input of zfs_pool_list."""

    limit: Limit = 100
    cursor: Cursor | None = None


@operation(
    name="zfs_pool_list",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/pools",
    resource_uri="zfs://{device}",
    changed_by=(ZFS,),
    cache=Cache("zfs_pools", timedelta(seconds=60)),
    commands=(*LIST, *STATUS),
)
async def zfs_pool_list(ctx: Context, params: PoolListParams) -> PoolList:
    """List ZFS pools, problems first: state, errors, capacity, last scrub. Start here for any storage question."""
    pools, states = await asyncio.gather(asked(ctx, ListPools()), pool_states(ctx))
    known = {state.name: state for state in states}
    rows = sorted((_row(pool, known.get(pool.name)) for pool in pools), key=_trouble)
    shown, next_cursor = page_within(rows, params.limit, params.cursor)
    return PoolList(
        device=ctx.device.hostname,
        zfs_version=(await ctx.links.capabilities(ctx.device)).zfs_version,
        pools=shown,
        total=len(rows),
        next_cursor=next_cursor,
    )


class PoolStatusParams(CachedParams):
    """Input of zfs_pool_status."""

    pool: PoolName
    limit: Limit = 500
    cursor: Cursor | None = None


@operation(
    name="zfs_pool_status",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/pools/{pool}",
    resource_uri="zfs://{device}/{pool}",
    changed_by=(ONE_POOL,),
    cache=Cache("zfs_pool_status", timedelta(seconds=60)),
    commands=STATUS,
)
async def zfs_pool_status(ctx: Context, params: PoolStatusParams) -> PoolStatus:
    """Show one pool whole: vdev tree with errors per disk, scrub or resilver progress, damaged files."""
    state, note = await pool_state(ctx, params.pool)
    files = fitting(state.error_files, _FILES_BUDGET)
    unhealthy = fitting([trouble for vdev in state.vdevs if (trouble := trouble_of(vdev))], _WORDS_BUDGET)
    budget = ROWS_BUDGET - characters(files) - characters(unhealthy)
    shown, next_cursor = page_within(state.vdevs, params.limit, params.cursor, budget)
    values = {name: getattr(state, name) for name in PoolState.model_fields}
    slow = [vdev.slow_ios for vdev in state.vdevs if vdev.slow_ios is not None]
    return PoolStatus(
        **values | {"error_files": files, "vdevs": shown},
        device=ctx.device.hostname,
        errors=errors_of(state.vdevs),
        slow_ios=sum(slow) if slow else None,
        unhealthy=unhealthy,
        error_files_total=len(state.error_files),
        total=len(state.vdevs),
        next_cursor=next_cursor,
        note=note,
    )


async def pool_states(ctx: Context) -> list[PoolState]:
    """The state of every pool."""
    return await _timed(ctx, await asked(ctx, ReadPoolStatus()))


async def pool_state(ctx: Context, pool: str) -> tuple[PoolState, str | None]:
    """The state of one pool with its damaged files, and what could not be found out. Raises `NotFound`.

    Only root may list damaged files. The text then tells nothing of them at all, so it is asked once more without.
    """
    state = await _one(ctx, pool, await asked(ctx, ReadPoolStatus(pool, files=True), pool))
    if state.data_errors == 0 or state.error_files:
        return state, None
    if await may_become_root(ctx):
        with suppress(CommandFailed, CommandNotAvailable):
            return await _one(ctx, pool, await ran(ctx, ReadPoolStatus(pool, files=True).as_root())), None
    if state.data_errors is None:
        state = await _one(ctx, pool, await asked(ctx, ReadPoolStatus(pool), pool))
    damaged = state.data_errors != 0
    return state, "Only root may list the damaged files." if damaged else None


async def _one(ctx: Context, pool: str, readings: Sequence[PoolReading]) -> PoolState:
    state = next((one for one in await _timed(ctx, readings) if one.name == pool), None)
    if state is None:
        raise NotFound(f"{ctx.device.hostname} told nothing of the pool {pool!r}.", hint="zfs_pool_list tells them.")
    return state


async def _timed(ctx: Context, readings: Sequence[PoolReading]) -> list[PoolState]:
    """The states, with speeds and times left told by the device's own clock where JSON leaves that to its reader."""
    if not any(reading.running for reading in readings):
        return [reading.state for reading in readings]
    now = await ctx.run(ReadClock())
    return [reading.at(now) for reading in readings]


def _row(pool: Pool, state: PoolState | None) -> Pool:
    if state is None:
        return pool
    return pool.model_copy(
        update={
            "errors": errors_of(state.vdevs),
            "data_errors": state.data_errors,
            "message": state.message,
            "activity": state.activities[0] if state.activities else None,
        }
    )


def errors_of(vdevs: Sequence[Vdev]) -> int:
    """Errors of all disks. Those of groups are errors of their own: of data no disk below could give."""
    return sum((vdev.read_errors or 0) + (vdev.write_errors or 0) + (vdev.checksum_errors or 0) for vdev in vdevs)


def trouble_of(vdev: Vdev) -> str | None:
    """What is the matter with a vdev, in words; None for one that is well."""
    said = [] if vdev.state in {"ONLINE", "AVAIL"} else [vdev.state or "state unknown"]
    said += [vdev.problem] if vdev.problem else []
    said += [f"was {vdev.was}"] if vdev.was else []
    counts = {"read": vdev.read_errors, "write": vdev.write_errors, "checksum": vdev.checksum_errors}
    said += [f"{count} {name} errors" for name, count in counts.items() if count]
    said += [f"{vdev.slow_ios} slow I/Os"] if vdev.slow_ios else []
    return f"{vdev.name}: {', '.join(said)}" if said else None


def _trouble(pool: Pool) -> tuple[bool, bool, bool, str]:
    return (pool.state == "ONLINE", not pool.data_errors, not pool.errors, pool.name)
