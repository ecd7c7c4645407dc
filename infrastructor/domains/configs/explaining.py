"""What changed, and what else happened around a change."""

import asyncio
from collections import Counter
from datetime import timedelta
from uuid import UUID

from pydantic import Field

from infrastructor.domains.configs.facts import of_changes, of_events, of_metrics, of_operations, of_packages
from infrastructor.domains.configs.looking import About, Few, IdCursor, as_id, blind_rows, version_rows
from infrastructor.domains.configs.models import ChangeExplanation, ChangeList, ConfigPath, FactRow
from infrastructor.domains.configs.ranking import ChangeFacts, names_in_tree, rank
from infrastructor.domains.configs.sides import Side, stored
from infrastructor.domains.configs.watching import device_named
from infrastructor.domains.packages.changes import ReadPackageChanges
from infrastructor.errors import NotFound
from infrastructor.formats.trees import NotUnderstood, parse
from infrastructor.operation import PLAIN, ChangedBy, Context, DeviceName, Params, operation
from infrastructor.ports.callers import Effect
from infrastructor.ports.devices import Device
from infrastructor.snapshot_store import Snapshot
from infrastructor.times import Span, Until, When, moment, span

_MOST_FACTS = 40


class ListParams(Params):
    """Input of change_list."""

    device: DeviceName | None = None
    under: ConfigPath | None = Field(default=None, description="Only below this folder.", json_schema_extra=PLAIN)
    since: When = "24h"
    until: Until | None = None
    about: About | None = None
    limit: Few = 20
    cursor: IdCursor | None = None


@operation(
    name="change_list",
    effect=Effect.READ,
    route="GET /api/changes",
    resource_uri="changes://{device}",
    changed_by=(ChangedBy(topic="configs"),),
)
async def change_list(ctx: Context, params: ListParams) -> ChangeList:
    """List what changed in configuration, on one device or all, newest first. Use it for what changed since when."""
    device = await device_named(ctx, params.device)
    now = ctx.now
    since = moment(params.since, now)
    names = {one.id: one.hostname for one in await ctx.devices.all()}
    found = await ctx.snapshots.history(
        device_id=None if device is None else device.id,
        under=params.under,
        since=since,
        until=moment(params.until, now, "until") if params.until else None,
        about=params.about,
        before=as_id(params.cursor),
        limit=params.limit + 1,
    )
    rows, more = await version_rows(ctx, found, params.limit, names)
    last = str(rows[-1].id) if rows and more else None
    chosen = [row for row in rows if params.about is None or params.about in row.about]
    return ChangeList(
        since=since,
        counts=dict(Counter(about for row in rows for about in row.about)),
        changes=chosen,
        next_cursor=last,
    )


class ExplainParams(Params):
    """Input of change_explain."""

    change: UUID = Field(description="Id of a version, from change_list.")
    window: Span = "15m"


@operation(
    name="change_explain",
    effect=Effect.READ,
    route="GET /api/changes/{change}/explain",
    commands=(ReadPackageChanges,),
)
async def change_explain(ctx: Context, params: ExplainParams) -> ChangeExplanation:
    """Show what happened around a change: containers, operations, packages, other files, load; likeliest first."""
    snapshot = await ctx.snapshots.find(params.change)
    device = None if snapshot is None else await _device(ctx, snapshot)
    if snapshot is None or device is None:
        raise NotFound(f"There is no change {params.change}.", hint="change_list and config_history name changes.")
    window = min(span(params.window), timedelta(hours=12))
    since, until = snapshot.time - window, snapshot.time + window
    problems: list[str] = []
    facts = [
        *await of_events(ctx, snapshot, since, until),
        *await of_operations(ctx, snapshot, since, until, problems),
        *await of_packages(ctx.on(device), since, until, problems),
        *await of_changes(ctx, snapshot, since, until),
        *await of_metrics(ctx, snapshot, since, until),
    ]
    side = await stored(ctx, snapshot)
    change = ChangeFacts(
        at=snapshot.time,
        path=snapshot.path,
        operation_id=snapshot.operation_id,
        names=await asyncio.to_thread(_names, side),
    )
    ranked = rank(change, facts, window)
    (row,), _ = await version_rows(ctx, [snapshot], 1, {device.id: device.hostname})
    blind = await blind_rows(ctx, device.id, since, until)
    return ChangeExplanation(
        change=row,
        window_seconds=int(window.total_seconds()),
        facts=[
            FactRow(
                at=one.fact.at,
                seconds_after=round((one.fact.at - snapshot.time).total_seconds(), 1),
                kind=one.fact.kind,
                what=one.fact.what[:300],
                why=one.why,
                score=one.score,
                evidence=dict(one.fact.evidence),
            )
            for one in ranked[:_MOST_FACTS]
        ],
        facts_omitted=max(0, len(ranked) - _MOST_FACTS),
        blind=blind[:10],
        problems=problems,
    )


async def _device(ctx: Context, snapshot: Snapshot) -> Device | None:
    return next((one for one in await ctx.devices.all() if one.id == snapshot.device_id), None)


def _names(side: Side) -> frozenset[str]:
    """What the file is about."""
    text = side.text
    if text is None:
        return frozenset()
    try:
        return names_in_tree(side.kind, parse(side.kind, text))
    except NotUnderstood:
        return frozenset()
