"""The operations that judge: what is wrong, and what could be better."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from pydantic import Field

from infrastructor.domains.drives.models import Drive
from infrastructor.domains.drives.operations import DriveHealthParams, drive_health
from infrastructor.domains.zfs.advice import dataset_advice
from infrastructor.domains.zfs.advice_pool import arc_advice, pool_advice
from infrastructor.domains.zfs.arc_models import ArcStats
from infrastructor.domains.zfs.arc_operations import ArcStatsParams, zfs_arc_stats
from infrastructor.domains.zfs.dataset_commands import ListDatasets, ListSnapshots
from infrastructor.domains.zfs.fact_commands import FindDisks, GetPoolProperties, GetSettings, ReadCounters, ReadWaits
from infrastructor.domains.zfs.facts import Facts, gather
from infrastructor.domains.zfs.health_models import (
    Finding,
    Grade,
    PoolVerdict,
    Recommendation,
    ZfsHealth,
    ZfsRecommendations,
)
from infrastructor.domains.zfs.models import Pool, PoolName
from infrastructor.domains.zfs.pool_operations import LIST, STATUS
from infrastructor.domains.zfs.rules_copies import copy_rules
from infrastructor.domains.zfs.rules_disk import disk_rules
from infrastructor.domains.zfs.rules_pool import pool_rules
from infrastructor.domains.zfs.rules_space import arc_rules, space_rules
from infrastructor.errors import DataCollectionError, NotFound
from infrastructor.operation import Cache, CachedParams, Context, completes, operation
from infrastructor.paging import ROWS_BUDGET, fitting
from infrastructor.ports.callers import Effect

_LOOK = (*LIST, *STATUS, ListDatasets, ListSnapshots, GetSettings, GetPoolProperties, FindDisks, ReadWaits)
_GRADES = [Grade.CRITICAL, Grade.WARNING, Grade.NOTE, Grade.OK]
_PRIORITIES = ["high", "medium", "low"]
_POOLS_BUDGET = 4_000
_NOT_CHECKED_BUDGET = 4_000
_ARC_INTERVAL_S = 1.0
_DEADLINE = timedelta(seconds=240)  # very many snapshots take the device minutes


class HealthParams(CachedParams):
    """Input of zfs_health_check."""

    pool: PoolName | None = Field(default=None, description="Only this pool.", json_schema_extra=completes("pool"))


@operation(
    name="zfs_health_check",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/health",
    cache=Cache("zfs_health", timedelta(seconds=300)),
    commands=_LOOK,
    uses=(drive_health, zfs_arc_stats),
    deadline=_DEADLINE,
)
async def zfs_health_check(ctx: Context, params: HealthParams) -> ZfsHealth:
    """Judge pools by counters, scrubs, SMART, space, copies and memory: findings with evidence and what to do."""
    facts = await gather(ctx, drives=partial(_drives, fresh=params.force_refresh), arc=_arc, counters=False)
    pools = _chosen(ctx, facts, params.pool)
    findings = {
        pool.name: [
            *pool_rules(facts, pool),
            *disk_rules(facts, pool),
            *space_rules(facts, pool),
            *copy_rules(facts, pool),
        ]
        for pool in pools
    }
    every = [one for some in findings.values() for one in some]
    if params.pool is None:
        every += arc_rules(facts)
    every.sort(key=lambda one: (_GRADES.index(one.severity), one.pool or "", one.code))
    verdicts = [
        PoolVerdict(
            name=pool.name,
            state=pool.state,
            verdict=worst(findings[pool.name]),
            capacity_percent=pool.capacity_percent,
        )
        for pool in pools
    ]
    verdicts.sort(key=lambda one: (_GRADES.index(one.verdict), one.name))
    shown_pools, missing = fitting(verdicts, _POOLS_BUDGET), fitting(list(facts.missing), _NOT_CHECKED_BUDGET)
    return ZfsHealth(
        device=ctx.device.hostname,
        verdict=worst(every),
        counts=dict(Counter(one.severity for one in every)),
        pools=shown_pools,
        findings=fitting(every, ROWS_BUDGET - _POOLS_BUDGET - _NOT_CHECKED_BUDGET),
        findings_total=len(every),
        not_checked=missing,
    )


class RecommendationsParams(CachedParams):
    """Input of zfs_recommendations."""

    pool: PoolName | None = Field(default=None, description="Only this pool.", json_schema_extra=completes("pool"))


@operation(
    name="zfs_recommendations",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/recommendations",
    cache=Cache("zfs_recommendations", timedelta(seconds=3600)),
    commands=(*_LOOK, ReadCounters),
    uses=(zfs_arc_stats,),
    deadline=_DEADLINE,
)
async def zfs_recommendations(ctx: Context, params: RecommendationsParams) -> ZfsRecommendations:
    """Recommend settings, vdevs and ARC size only where a measurement speaks for it; with effect, risk, command."""
    facts = await gather(ctx, drives=None, arc=_arc, counters=True)
    pools = _chosen(ctx, facts, params.pool)
    every: list[Recommendation] = []
    for pool in pools:
        every += [*pool_advice(facts, pool), *dataset_advice(facts, pool)]
    if params.pool is None:
        every += arc_advice(facts)
    every.sort(key=lambda one: (_PRIORITIES.index(one.priority), one.pool or "", one.code, one.subject or ""))
    missing = fitting(list(facts.missing), _NOT_CHECKED_BUDGET)
    return ZfsRecommendations(
        device=ctx.device.hostname,
        recommendations=fitting(every, ROWS_BUDGET - _NOT_CHECKED_BUDGET),
        total=len(every),
        measured_over_seconds=None if facts.counters is None else round(facts.counters.uptime_s),
        not_measured=missing,
    )


def worst(findings: Sequence[Finding]) -> Grade:
    """The gravest of some findings."""
    return min((one.severity for one in findings), key=_GRADES.index, default=Grade.OK)


def _chosen(ctx: Context, facts: Facts, name: str | None) -> list[Pool]:
    if name is None:
        return list(facts.pools)
    chosen = [pool for pool in facts.pools if pool.name == name]
    if not chosen:
        names = ", ".join(pool.name for pool in facts.pools) or "none"
        raise NotFound(f"{ctx.device.hostname} has no ZFS pool {name!r}.", hint=f"Its pools: {names}.")
    return chosen


async def _drives(ctx: Context, *, fresh: bool) -> Sequence[Drive]:
    health = (await ctx.call(drive_health, DriveHealthParams(device=ctx.device.hostname, force_refresh=fresh))).result
    if not health.drives and health.note:
        raise DataCollectionError(health.note)
    return health.drives


async def _arc(ctx: Context) -> ArcStats:
    params = ArcStatsParams(device=ctx.device.hostname, interval_seconds=_ARC_INTERVAL_S)
    return (await ctx.call(zfs_arc_stats, params)).result
