"""The report: one document on the ZFS of a device, put together from what the other operations answer."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from pydantic import Field

from infrastructor.domains.zfs.arc_models import ArcStats
from infrastructor.domains.zfs.arc_operations import ArcStatsParams, zfs_arc_stats
from infrastructor.domains.zfs.dataset_models import Dataset, DatasetList, SnapshotList
from infrastructor.domains.zfs.dataset_operations import (
    DatasetListParams,
    SnapshotListParams,
    zfs_dataset_list,
    zfs_snapshot_list,
)
from infrastructor.domains.zfs.event_operations import EventListParams, ZfsEventList, ZfsEventRow, zfs_event_list
from infrastructor.domains.zfs.facts import Gathering
from infrastructor.domains.zfs.health_models import Finding, Grade, Recommendation
from infrastructor.domains.zfs.health_operations import (
    HealthParams,
    RecommendationsParams,
    zfs_health_check,
    zfs_recommendations,
)
from infrastructor.domains.zfs.models import Pool
from infrastructor.domains.zfs.pool_operations import PoolListParams, zfs_pool_list
from infrastructor.operation import Answer, Cache, CachedParams, Context, Operation, Params, Result, operation
from infrastructor.paging import fitting
from infrastructor.ports.callers import Effect

P = TypeVar("P", bound=Params)
R = TypeVar("R", bound=Result)

_POOLS, _FINDINGS, _ADVICE, _EVENTS, _NOTES = 7_000, 9_000, 7_000, 3_500, 2_000  # characters
_TOP = 8
_ALARMS = 10
_ARC_INTERVAL_S = 1.0
_EVENTS_OF = timedelta(hours=24)


class ZfsReport(Result):
    """The ZFS of a device in one document: verdict first, then why, then the figures."""

    device: str = Field(description="Device name.")
    made_at: datetime = Field(description="UTC.")
    zfs_version: str | None = Field(description="Userland version of OpenZFS.")
    verdict: Grade = Field(description="The worst finding.")
    summary: list[str] = Field(description="The report in a few sentences.")
    pools: list[Pool] = Field(description="Pools, problems first.")
    finding_counts: dict[str, int] = Field(description="Findings of each severity.")
    findings: list[Finding] = Field(description="What is wrong, worst first; zfs_health_check has all.")
    recommendations: list[Recommendation] = Field(description="What could be better; zfs_recommendations has all.")
    recommendations_total: int | None = Field(description="How many there are.")
    datasets_total: int | None = Field(description="File systems and volumes.")
    largest_datasets: list[Dataset] = Field(description="Those that use most, with what is below them.")
    snapshots_total: int | None = Field(description="ZFS snapshots.")
    oldest_snapshot_at: datetime | None = Field(description="UTC.")
    newest_snapshot_at: datetime | None = Field(description="UTC.")
    arc: ArcStats | None = Field(description="The cache in memory.")
    event_counts: dict[str, int] = Field(description="Alarms of the last 24 hours by kind; of 100 at most.")
    alarms: list[ZfsEventRow] = Field(description="The latest of those.")
    missing: list[str] = Field(description="What could not be had, and why.")


class ReportParams(CachedParams):
    """Input of zfs_report."""


@operation(
    name="zfs_report",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/report",
    cache=Cache("zfs_report", timedelta(seconds=300)),
    uses=(
        zfs_pool_list,
        zfs_health_check,
        zfs_recommendations,
        zfs_dataset_list,
        zfs_snapshot_list,
        zfs_arc_stats,
        zfs_event_list,
    ),
    deadline=timedelta(seconds=600),
)
async def zfs_report(ctx: Context, params: ReportParams) -> ZfsReport:
    """Report on all ZFS of a device in one document: verdict, findings, advice, space, snapshots, cache, alarms."""
    device, fresh = ctx.device.hostname, params.force_refresh
    pools = await _ask(ctx, zfs_pool_list, PoolListParams(device=device, force_refresh=fresh))
    health = await _ask(ctx, zfs_health_check, HealthParams(device=device, force_refresh=fresh))
    known = Gathering()
    since = f"{int(_EVENTS_OF.total_seconds() // 3600)}h"
    (advice, datasets, snapshots), (arc, events) = await asyncio.gather(
        asyncio.gather(
            known.perhaps(
                "recommendations",
                _ask(ctx, zfs_recommendations, RecommendationsParams(device=device, force_refresh=fresh)),
            ),
            known.perhaps(
                "datasets",
                _ask(ctx, zfs_dataset_list, DatasetListParams(device=device, sort="used", force_refresh=fresh)),
            ),
            known.perhaps(
                "snapshots",
                _ask(ctx, zfs_snapshot_list, SnapshotListParams(device=device, limit=1, force_refresh=fresh)),
            ),
        ),
        asyncio.gather(
            known.perhaps(
                "ARC", _ask(ctx, zfs_arc_stats, ArcStatsParams(device=device, interval_seconds=_ARC_INTERVAL_S))
            ),
            known.perhaps(
                "events",
                _ask(ctx, zfs_event_list, EventListParams(device=device, severity="warning", since=since, limit=100)),
            ),
        ),
    )
    alarms = events.events if events else []
    return ZfsReport(
        device=device,
        made_at=ctx.now,
        zfs_version=pools.zfs_version,
        verdict=health.verdict,
        summary=_summary(pools.pools, health.counts, datasets, snapshots, events),
        pools=fitting(pools.pools, _POOLS),
        finding_counts=health.counts,
        findings=fitting(health.findings, _FINDINGS),
        recommendations=fitting(advice.recommendations, _ADVICE) if advice else [],
        recommendations_total=advice.total if advice else None,
        datasets_total=datasets.total if datasets else None,
        largest_datasets=datasets.datasets[:_TOP] if datasets else [],
        snapshots_total=snapshots.total if snapshots else None,
        oldest_snapshot_at=snapshots.oldest_at if snapshots else None,
        newest_snapshot_at=snapshots.newest_at if snapshots else None,
        arc=arc,
        event_counts=dict(Counter(event.kind for event in alarms)),
        alarms=fitting(alarms[:_ALARMS], _EVENTS),
        missing=fitting(list(dict.fromkeys([*health.not_checked, *known.missing])), _NOTES),
    )


async def _ask(ctx: Context, asked: Operation[P, R], params: P) -> R:
    answer: Answer[R] = await ctx.call(asked, params)
    return answer.result


def _summary(
    pools: Sequence[Pool],
    counts: dict[str, int],
    datasets: DatasetList | None,
    snapshots: SnapshotList | None,
    events: ZfsEventList | None,
) -> list[str]:
    """What a reader has to know first."""
    lines = []
    for pool in pools[:_TOP]:
        errors = f", {pool.errors} disk errors" if pool.errors else ""
        damaged = f", {pool.data_errors} data errors" if pool.data_errors else ""
        lines.append(f"{pool.name} is {pool.state}, {pool.capacity_percent} % full{errors}{damaged}.")
    if not pools:
        lines.append("No pool is imported.")
    told = ", ".join(f"{count} {grade}" for grade, count in counts.items())
    lines.append(f"Findings: {told or 'none'}.")
    if datasets and snapshots:
        lines.append(f"{datasets.total} datasets, {snapshots.total} snapshots.")
    if events and events.events:
        lines.append(f"{len(events.events)} alarms in the last 24 hours, the latest {events.events[0].kind}.")
    return lines
