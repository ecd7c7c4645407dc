"""What the scheduled reading of a device's containers leaves in the store: states that changed, and samples."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

from infrastructor.container_store import ContainerSample, ContainerState
from infrastructor.domains.containers.inspection import Inspection
from infrastructor.domains.containers.models import ContainerUse
from infrastructor.domains.containers.queries import QueryContainer
from infrastructor.domains.containers.rows import Row, short_ports
from infrastructor.errors import DatabaseOperationError, InfrastructorError
from infrastructor.operation import Context

INSPECTED = 50  # changed containers a reading looks at more closely


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


async def keep(ctx: Context, rows: Sequence[Row], uses: Iterable[ContainerUse]) -> None:
    """Queue the samples, and keep the states that changed; those are looked at more closely.

    Without PostgreSQL the samples wait, and the states are compared the next time.
    """
    ctx.containers.add_samples(ctx.device.id, ctx.now, [sample_of(use) for use in uses])
    with suppress(DatabaseOperationError):
        await _keep_states(ctx, rows)


async def _keep_states(ctx: Context, rows: Sequence[Row]) -> None:
    device_id = ctx.device.id
    known = {state.name: state for state in await ctx.containers.states(device_id)}
    inspected = 0
    states = []
    for row in rows:
        state, before = state_of(row), known.get(row.name)
        if before is not None and _as_listed(before, state) == state:
            state = before
        elif inspected < INSPECTED:
            inspected += 1
            state = await _inspected(ctx, state)
        states.append(state)
    await ctx.containers.add_states(device_id, ctx.now, states)


def _as_listed(before: ContainerState, now: ContainerState) -> ContainerState:
    """What was kept, without what a list does not tell."""
    listed = replace(before, image_id=None, restart_count=None, oom_killed=None, started_at=None, finished_at=None)
    return replace(listed, exit_code=now.exit_code) if now.exit_code is None else listed


async def _inspected(ctx: Context, state: ContainerState) -> ContainerState:
    try:
        found = (await ctx.ask(QueryContainer(container=state.container_id))).value
    except InfrastructorError:
        return state  # gone meanwhile, or not to be understood: what the list says is kept
    return with_inspection(state, found[0]) if len(found) == 1 else state
