"""What the scheduled reading of a device's containers leaves in the store: states that changed, and samples."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from infrastructor.container_store import ContainerSample, ContainerState
from infrastructor.domains.containers.inspection import Inspection
from infrastructor.domains.containers.models import ContainerUse
from infrastructor.domains.containers.queries import QueryContainer
from infrastructor.domains.containers.rows import Row, short_ports
from infrastructor.errors import DatabaseOperationError, InfrastructorError
from infrastructor.operation import Context

INSPECTED = 50  # changed containers a reading looks at more closely
SLACK = timedelta(seconds=5)  # the list is read a little earlier, and by another clock
_SINCE = re.compile(
    r"(?:Up|(?:Exited|Restarting) \(-?\d+\)) (?:Less than a|About an?|(?P<count>\d{1,4})) "
    r"(?P<unit>second|minute|hour|day|week|month|year)"
)
_UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "month": 2678400, "year": 31622400}


def state_of(row: Row) -> ContainerState:
    """What a list tells, without what changes by itself."""
    return ContainerState(
        name=row.name,
        container_id=row.id,
        state=row.state,
        health=row.health,
        image=row.image,
        exit_code=row.exit_code,
        ports=tuple(short_ports(row.ports)),
        stack=row.stack,
    )


def with_inspection(state: ContainerState, found: Inspection) -> ContainerState:
    return replace(
        state,
        image_id=found.image_id,
        restart_count=found.state.restarts,
        exit_code=found.state.exit_code,
        oom_killed=found.state.oom_killed,
        started_at=found.state.started_at.isoformat() if found.state.started_at else None,
        finished_at=found.state.finished_at.isoformat() if found.state.finished_at else None,
    )


def sample_of(use: ContainerUse) -> ContainerSample:
    return ContainerSample(
        name=use.name,
        cpu_percent=use.cpu_percent,
        memory_bytes=use.memory_bytes,
        rx_bytes=use.received_bytes,
        tx_bytes=use.sent_bytes,
        read_bytes=use.read_bytes,
        written_bytes=use.written_bytes,
        pids=use.pids,
    )


def at_most_ago(status: str) -> timedelta | None:
    """`Up 3 minutes`, `Restarting (1) 5 seconds ago`: how long since its last start or end at the most."""
    match = _SINCE.match(status)
    return None if match is None else timedelta(seconds=(int(match["count"] or 1) + 1) * _UNITS_S[match["unit"]])


def began_anew(row: Row, before: ContainerState, now: datetime) -> bool:
    """Whether it was started or ended again since that state was kept, though the list says the same of it."""
    ago = at_most_ago(row.status)
    if ago is None:
        return False
    known = before.started_at if row.state in {"running", "paused"} else before.finished_at
    return known is None or datetime.fromisoformat(known) < now - ago - SLACK


async def keep(ctx: Context, rows: Sequence[Row], uses: Sequence[ContainerUse]) -> None:
    """Queue the samples, and keep the states that changed; those are looked at more closely.

    Without PostgreSQL the samples wait, and the states are compared the next time.
    """
    ctx.containers.add_samples(ctx.device.id, ctx.now, [sample_of(use) for use in uses])
    with suppress(DatabaseOperationError):
        await _keep_states(ctx, rows, {use.name: use.oom_kills for use in uses if use.oom_kills})


async def _keep_states(ctx: Context, rows: Sequence[Row], kills: Mapping[str, int]) -> None:
    device_id = ctx.device.id
    known = {state.name: state for state in await ctx.containers.states(device_id)}
    inspected = 0
    states = []
    for row in rows:
        state, before = state_of(row), known.get(row.name)
        same = before if before is not None and _as_listed(before, state) == state else None
        if inspected < INSPECTED and (same is None or began_anew(row, same, ctx.now)):
            inspected += 1
            state = replace(await _inspected(ctx, state), oom_kills=kills.get(row.name))
        elif same is not None:
            # The engine tells of kills by an event that it misses now and then; the kernel counts them.
            more = kills.get(row.name, 0) > (same.oom_kills or 0)
            state = replace(same, oom_kills=kills[row.name]) if more else same
        states.append(state)
    await ctx.containers.add_states(device_id, ctx.now, states)


def _as_listed(before: ContainerState, now: ContainerState) -> ContainerState:
    """What was kept, without what a list does not tell."""
    listed = replace(
        before,
        image_id=None,
        restart_count=None,
        oom_killed=None,
        oom_kills=None,
        started_at=None,
        finished_at=None,
    )
    return replace(listed, exit_code=now.exit_code) if now.exit_code is None else listed


async def _inspected(ctx: Context, state: ContainerState) -> ContainerState:
    try:
        found = (await ctx.ask(QueryContainer(container=state.container_id))).value
    except InfrastructorError:
        return state  # gone meanwhile, or not to be understood: what the list says is kept
    return with_inspection(state, found[0]) if len(found) == 1 else state
