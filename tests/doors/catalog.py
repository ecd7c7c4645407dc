"""A small catalogue with one operation of every sort, so that the doors are tested without the domains."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from infrastructor.command import Command
from infrastructor.operation import (
    Cache,
    CachedParams,
    Context,
    DestroyParams,
    DestroyResult,
    DeviceParams,
    Operation,
    Params,
    PlanDraft,
    Result,
    operation,
)
from infrastructor.ports.callers import Effect
from infrastructor.ports.ssh import CommandOutput, Lane

PoolName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,30}$")]


class Pool(Result):
    name: str = Field(description="Name of the pool.")
    health: Literal["ONLINE", "DEGRADED"] | None = Field(default=None, description="As the device says it.")
    size_bytes: int | None = Field(default=None, description="Raw size.")


class PoolList(Result):
    pools: list[Pool] = Field(description="Ordered by name.")


@dataclass(frozen=True)
class ZpoolList(Command[list[Pool]]):
    template = "zpool list -H -p -o name,health,size -- {pool}"
    needs = "zpool"
    pool: str | None = None

    def parse(self, output: CommandOutput) -> list[Pool]:
        rows = [line.split("\t") for line in output.text.splitlines()]
        return [Pool.model_validate({"name": n, "health": h, "size_bytes": int(s)}) for n, h, s in rows]


@dataclass(frozen=True)
class ZpoolScrub(Command[None]):
    template = "zpool scrub -- {pool}"
    needs = "zpool"
    lane = Lane.CHANGE
    sudo = True
    pool: str

    def parse(self, output: CommandOutput) -> None:
        return None


class PoolListParams(CachedParams):
    pool: PoolName | None = Field(default=None, description="Only this pool, e.g. tank.")


class PoolParams(DeviceParams):
    pool: PoolName = Field(description="The pool, e.g. tank.")


class ScrubParams(PoolParams):
    priority: int = Field(default=5, ge=1, le=9, description="1 is the most urgent.")
    labels: dict[str, str] = Field(default_factory=dict, description="Kept with the scrub.")
    note: str | None = Field(default=None, description="Why, for the audit.")


class Done(Result):
    done: bool = Field(description="Always true.")


class PoolDestroyParams(DestroyParams):
    pool: PoolName = Field(description="The pool to destroy, e.g. tank.")


class PoolDestroyed(DestroyResult):
    pool: str | None = Field(default=None, description="The destroyed pool.")


class SearchParams(Params):
    names: list[str] = Field(default_factory=list, description="Names to look for.")
    where: dict[str, str] = Field(default_factory=dict, description="Tags to match.")
    kind: Literal["server", "nas"] | None = Field(default=None, description="Only this kind.")
    wait_s: float = Field(default=0, ge=0, description="Seconds to wait first.")
    size: int = Field(default=0, ge=0, description="Characters of padding in the answer.")


class Search(Result):
    names: list[str] = Field(description="What was asked for.")
    where: dict[str, str] = Field(description="What was asked for.")
    padding: str = Field(default="", description="As long as asked for.")


@operation(
    name="zfs_pool_list",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/pools",
    resource_uri="zfs://{device}/pools",
    cache=Cache("zfs_pools", ttl=timedelta(minutes=5)),
    commands=(ZpoolList,),
)
async def pool_list(ctx: Context, params: PoolListParams) -> PoolList:
    """List the ZFS pools of a device with size and health. Start here for any storage question."""
    return PoolList(pools=await ctx.run(ZpoolList(pool=params.pool)))


@operation(
    name="zfs_scrub_start",
    effect=Effect.CHANGE,
    route="POST /api/zfs/{device}/pools/{pool}/scrub",
    invalidates=("zfs_pools",),
    commands=(ZpoolScrub,),
)
async def scrub_start(ctx: Context, params: ScrubParams) -> Done:
    """Start a scrub of a pool. Call zfs_pool_list first to see the pools."""
    await ctx.run(ZpoolScrub(pool=params.pool))
    return Done(done=True)


async def _plan(ctx: Context, params: PoolDestroyParams) -> PlanDraft:
    pools = await ctx.run(ZpoolList(pool=params.pool))
    return PlanDraft(summary=f"Destroy {params.pool}.", effects=("All data in it is lost.",), fingerprint=repr(pools))


@operation(
    name="zfs_pool_destroy",
    effect=Effect.DESTROY,
    route="DELETE /api/zfs/{device}/pools/{pool}",
    invalidates=("zfs_pools",),
    commands=(ZpoolList, ZpoolScrub),
    plan=_plan,
)
async def pool_destroy(ctx: Context, params: PoolDestroyParams) -> PoolDestroyed:
    """Destroy a pool and everything in it. Returns the plan first; call again with its plan_token."""
    await ctx.run(ZpoolScrub(pool=params.pool))
    return PoolDestroyed(status="done", pool=params.pool)


@operation(name="thing_search", effect=Effect.READ, route="GET /api/things", resource_uri="thing://all")
async def thing_search(ctx: Context, params: SearchParams) -> Search:
    """Search things by name and tag. Reaches no device."""
    await ctx.progress(0, 1, "waiting")
    await asyncio.sleep(params.wait_s)
    await ctx.progress(1, 1, "done")
    return Search(names=params.names, where=params.where, padding="x" * params.size)


OPERATIONS: tuple[Operation[Any, Any], ...] = (pool_list, scrub_start, pool_destroy, thing_search)
