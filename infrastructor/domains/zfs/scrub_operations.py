"""Starting, pausing and ending a scrub."""

from datetime import timedelta
from typing import Literal

from pydantic import Field

from infrastructor.domains.zfs.change_commands import Scrub
from infrastructor.domains.zfs.change_models import ScrubState
from infrastructor.domains.zfs.models import ZFS_ANSWERS, Activity, PoolName, PoolState
from infrastructor.domains.zfs.pool_operations import STATUS, pool_state
from infrastructor.domains.zfs.reach import asked
from infrastructor.errors import Conflict
from infrastructor.operation import Context, DeviceParams, operation
from infrastructor.ports.callers import Effect

Action = Literal["start", "pause", "stop"]


class ScrubParams(DeviceParams):
    """Input of zfs_scrub."""

    pool: PoolName
    action: Action = Field(default="start", description="start also resumes.")


@operation(
    name="zfs_scrub",
    effect=Effect.CHANGE,
    route="POST /api/zfs/{device}/pools/{pool}/scrub",
    invalidates=ZFS_ANSWERS,
    commands=(Scrub, *STATUS),
    deadline=timedelta(seconds=300),
)
async def zfs_scrub(ctx: Context, params: ScrubParams) -> ScrubState:
    """Start, pause or end a scrub, which reads and repairs all data of a pool. zfs_pool_status tells how far it is."""
    before, _ = await pool_state(ctx, params.pool)
    running = _scrub(before)
    state = "none" if running is None else running.state
    so_already = {"start": state == "running", "pause": state == "paused", "stop": state not in {"running", "paused"}}
    if so_already[params.action]:
        return _answer(ctx, params.pool, before, changed=False)
    if params.action == "pause" and state != "running":
        raise Conflict(f"No scrub of {params.pool} runs on {ctx.device.hostname}, so there is none to pause.")
    if params.action == "start":
        _check_resilver(ctx, before)
    pause, stop = params.action == "pause", params.action == "stop"
    await asked(ctx, Scrub(pool=params.pool, pause=pause, stop=stop), params.pool)
    after, _ = await pool_state(ctx, params.pool)
    return _answer(ctx, params.pool, after, changed=True)


def _scrub(state: PoolState) -> Activity | None:
    return next((one for one in state.activities if one.kind == "scrub"), None)


def _check_resilver(ctx: Context, state: PoolState) -> None:
    busy = next((one for one in state.activities if one.kind == "resilver" and one.state == "running"), None)
    if busy is not None:
        raise Conflict(
            f"A resilver of {state.name} runs on {ctx.device.hostname}, and a scrub cannot run beside it.",
            hint="It reads and repairs what matters now; scrub when zfs_pool_status says that it has finished.",
        )


def _answer(ctx: Context, pool: str, state: PoolState, *, changed: bool) -> ScrubState:
    scrub = _scrub(state)
    if scrub is None:
        said = f"{pool} was never scrubbed."
    elif scrub.state in {"running", "paused"}:
        done = "" if scrub.done_percent is None else f" at {scrub.done_percent:g} %"
        said = f"The scrub of {pool} is {scrub.state}{done}."
    else:
        said = f"The last scrub of {pool} is {scrub.state}; {scrub.errors or 0} errors were left."
    if not changed:
        said += " It was so already."
    return ScrubState(device=ctx.device.hostname, pool=pool, changed=changed, scrub=scrub, message=said)
