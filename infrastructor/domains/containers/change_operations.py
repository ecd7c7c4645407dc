"""Operations that start, stop, restart and remove containers, and run programs inside them."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, StringConstraints

from infrastructor.command import Command
from infrastructor.domains.containers.change_commands import (
    LONGEST_EXEC_S,
    LONGEST_STOP_S,
    ExecInContainer,
    PodmanExecInContainer,
    PodmanRemoveContainer,
    PodmanRestartContainer,
    PodmanStartContainer,
    PodmanStopContainer,
    RemoveContainer,
    RestartContainer,
    StartContainer,
    StopContainer,
)
from infrastructor.domains.containers.commands import (
    InspectContainers,
    ListContainers,
    PodmanInspectContainers,
    PodmanListContainers,
    engine_of,
)
from infrastructor.domains.containers.inspection import Inspection
from infrastructor.domains.containers.models import (
    ContainerChange,
    ContainerExec,
    ContainerRef,
    ContainerRemoved,
    State,
)
from infrastructor.domains.containers.queries import QueryContainer, QueryContainers
from infrastructor.domains.containers.reach import inspect, run
from infrastructor.domains.containers.rows import SHORT_ID
from infrastructor.errors import CommandNotAvailable, Conflict, NotFound, Protected
from infrastructor.masking import mask_secrets
from infrastructor.operation import PLAIN, Context, DestroyParams, DeviceParams, PlanDraft, operation
from infrastructor.ports.callers import Effect, Interface
from infrastructor.protection import PROTECTED
from infrastructor.sanitize import clean

CHANGED = (
    *("containers", "container_detail", "container_stats", "container_health"),
    *("ports", "port_scan", "docker_networks", "dependencies"),
    *("proxies", "proxy_config", "proxy_templates", "proxy_samples", "proxy_summary"),
    *("stacks", "stack_detail", "config_discovery"),
)
_LOOK = (ListContainers, PodmanListContainers, InspectContainers, PodmanInspectContainers)
_QUERIES = (QueryContainers, QueryContainer)
_DEADLINE = timedelta(seconds=LONGEST_STOP_S + 120)
_KILLED = 137
_TIMED_OUT = frozenset({124, _KILLED})
_SHOWN = 16_000

Wait = Annotated[
    int,
    Field(ge=0, le=LONGEST_STOP_S, description="Seconds before it is killed.", json_schema_extra=PLAIN),
]


class StartParams(DeviceParams):
    """Input of container_start."""

    container: ContainerRef


@operation(
    name="container_start",
    effect=Effect.CHANGE,
    route="POST /api/containers/{device}/{container}/start",
    invalidates=CHANGED,
    commands=(*_LOOK, StartContainer, PodmanStartContainer),
    queries=_QUERIES,
    deadline=_DEADLINE,
)
async def container_start(ctx: Context, params: StartParams) -> ContainerChange:
    """Start a container; one that runs already stays as it is. The answer has its state before and after."""
    before = (await inspect(ctx, params.container)).value
    if before.state.status in {"running", "restarting"}:
        return _unchanged(ctx, before, f"{before.name} runs already.")
    await run(ctx, StartContainer(container=before.id))
    return await _changed(ctx, before, "started")


class StopParams(DeviceParams):
    """Input of container_stop and container_restart."""

    container: ContainerRef
    wait_seconds: Wait | None = None


@operation(
    name="container_stop",
    effect=Effect.CHANGE,
    route="POST /api/containers/{device}/{container}/stop",
    invalidates=CHANGED,
    commands=(*_LOOK, StopContainer, PodmanStopContainer),
    queries=_QUERIES,
    deadline=_DEADLINE,
)
async def container_stop(ctx: Context, params: StopParams) -> ContainerChange:
    """Stop a container: it is asked to end, then killed. One that does not run stays as it is."""
    before = (await inspect(ctx, params.container)).value
    _check_protection(ctx, before, "stopped")
    if not before.running:
        return _unchanged(ctx, before, f"{before.name} does not run ({before.state.status}).")
    await run(ctx, StopContainer(container=before.id, wait=params.wait_seconds))
    return await _changed(ctx, before, "stopped")


@operation(
    name="container_restart",
    effect=Effect.CHANGE,
    route="POST /api/containers/{device}/{container}/restart",
    invalidates=CHANGED,
    commands=(*_LOOK, RestartContainer, PodmanRestartContainer),
    queries=_QUERIES,
    deadline=_DEADLINE,
)
async def container_restart(ctx: Context, params: StopParams) -> ContainerChange:
    """Stop and start a container; one that does not run is started. The answer has its state before and after."""
    before = (await inspect(ctx, params.container)).value
    await run(ctx, RestartContainer(container=before.id, wait=params.wait_seconds))
    return await _changed(ctx, before, "restarted")


def _check_protection(ctx: Context, found: Inspection, what: str) -> None:
    if found.protected:
        raise Protected(
            f"{found.name} on {ctx.device.hostname} is labelled {PROTECTED}={clean(found.labels[PROTECTED], 40)} "
            f"and may not be {what}.",
            hint="Recreate the container without that label first, where it is declared.",
        )


def _unchanged(ctx: Context, found: Inspection, message: str) -> ContainerChange:
    return ContainerChange(
        device=ctx.device.hostname,
        name=found.name,
        id=found.id,
        changed=False,
        before=found.state,
        after=found.state,
        message=message,
    )


async def _changed(ctx: Context, before: Inspection, what: str) -> ContainerChange:
    """Read the state back: what the program said is one thing, what it came to another."""
    try:
        after = (await inspect(ctx, before.id)).value.state
    except NotFound:
        if not before.auto_remove:
            raise
        after = before.state.model_copy(update={"status": "removed", "pid": None})
    return ContainerChange(
        device=ctx.device.hostname,
        name=before.name,
        id=before.id,
        changed=True,
        before=before.state,
        after=after,
        message=_outcome(before.name, after, what),
    )


def _outcome(name: str, after: State, what: str) -> str:
    code = "" if after.exit_code is None else f" with exit code {after.exit_code}"
    if after.status in {"removed", "removing"}:
        return f"{name} was {what}{code} and removes itself, as it was run with --rm."
    if what == "stopped":
        killed = ": it did not end in time and was killed" if after.exit_code == _KILLED else ""
        return f"{name} ended{code}{killed}." if after.status == "exited" else f"{name} is {after.status}."
    if after.status != "running":
        return f"{name} was {what}, but is {after.status} already{code}; container_logs tells why."
    checked = f"; its health check says {after.health}" if after.health else ""
    return f"{name} was {what} and runs{checked}."


# --- removal -----------------------------------------------------------------------------------------


class RemoveParams(DestroyParams):
    """Input of container_remove."""

    container: ContainerRef
    force: bool = Field(default=False, description="Kill it if it runs.", json_schema_extra=PLAIN)
    remove_volumes: bool = Field(default=False, description="Its anonymous volumes too.", json_schema_extra=PLAIN)


async def _plan_removal(ctx: Context, params: RemoveParams) -> PlanDraft:
    found = (await inspect(ctx, params.container)).value
    _check_protection(ctx, found, "removed")
    if found.running and not params.force:
        raise Conflict(
            f"{found.name} on {ctx.device.hostname} is {found.state.status}.",
            hint="Stop it first with container_stop, or plan again with force=true.",
        )
    command: Command[None] = RemoveContainer(container=found.id, force=params.force, volumes=params.remove_volumes)
    command = command.variant(await ctx.links.capabilities(ctx.device))
    started = found.state.started_at
    return PlanDraft(
        summary=f"Remove the container {found.name} ({found.image}) from {ctx.device.hostname}.",
        effects=tuple(_effects(found, params)),
        fingerprint=f"{found.id} {found.image_id} {found.state.status} {started.isoformat() if started else None}",
        commands=(command.summary(),),
        found=found,
    )


def _effects(found: Inspection, params: RemoveParams) -> list[str]:
    state = found.state
    now = f"It is {state.status}" + (f" since {state.started_at:%Y-%m-%d %H:%M} UTC" if state.started_at else "")
    effects = [
        f"Container {found.name} ({found.id[:SHORT_ID]}) of image {found.image} is deleted. {now}.",
        "Files written inside it, outside of volumes, and its log are lost.",
    ]
    if found.running:
        effects.append("It is killed first, without being asked to end.")
    if found.anonymous_volumes:
        names = ", ".join(name[:SHORT_ID] for name in found.anonymous_volumes)
        lost = "deleted with their data" if params.remove_volumes else "kept, without anything that uses them"
        effects.append(f"{len(found.anonymous_volumes)} anonymous volumes are {lost}: {names}.")
    if found.named_volumes:
        effects.append(f"Named volumes are kept: {', '.join(found.named_volumes)}.")
    binds = [mount.source for mount in found.mounts if mount.type == "bind" and mount.source]
    if binds:
        effects.append(f"Paths on the device are kept: {', '.join(binds)}.")
    networks = [network.name for network in found.networks]
    if networks:
        effects.append(f"It leaves the networks {', '.join(networks)}; others no longer reach it there.")
    if found.restart_policy not in {None, "no"}:
        effects.append(f"Its restart policy {found.restart_policy} ends with it: nothing starts it again.")
    if found.stack:
        effects.append(f"It belongs to the stack {found.stack}, whose next deployment creates it again.")
    if found.pod:
        effects.append(f"It leaves the pod {found.pod[:SHORT_ID]}.")
    return effects


@operation(
    name="container_remove",
    effect=Effect.DESTROY,
    route="DELETE /api/containers/{device}/{container}",
    invalidates=CHANGED,
    commands=(*_LOOK, RemoveContainer, PodmanRemoveContainer),
    queries=_QUERIES,
    plan=_plan_removal,
    deadline=_DEADLINE,
)
async def container_remove(ctx: Context, params: RemoveParams) -> ContainerRemoved:
    """Remove a container. Without plan_token it only plans: what is lost, what is kept."""
    found = ctx.planned(Inspection)
    await run(ctx, RemoveContainer(container=found.id, force=params.force, volumes=params.remove_volumes))
    try:
        await inspect(ctx, found.id)
    except NotFound:
        return ContainerRemoved(status="done", name=found.name, id=found.id)
    raise Conflict(
        f"{found.name} on {ctx.device.hostname} is still there after its removal.",
        hint="Look at it with container_get; its removal may be under way.",
    )


# --- running a program inside ------------------------------------------------------------------------

Word = Annotated[str, StringConstraints(max_length=8000)]


class ExecParams(DeviceParams):
    """Input of container_exec."""

    container: ContainerRef
    argv: tuple[Word, ...] = Field(
        min_length=1, max_length=200, description="Program and arguments, one each; no shell reads them."
    )
    user: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,64}$", description="User inside.")
    workdir: str | None = Field(default=None, pattern=r"^/[^\x00-\x1f]{0,500}$", description="Folder inside.")
    timeout_seconds: int = Field(default=30, ge=1, le=LONGEST_EXEC_S, description="Most.", json_schema_extra=PLAIN)


@operation(
    name="container_exec",
    effect=Effect.CHANGE,
    route="POST /api/containers/{device}/{container}/exec",
    invalidates=CHANGED,
    commands=(*_LOOK, ExecInContainer, PodmanExecInContainer),
    queries=_QUERIES,
    deadline=timedelta(seconds=LONGEST_EXEC_S + 60),
    opt_in=(Interface.MCP,),
)
async def container_exec(ctx: Context, params: ExecParams) -> ContainerExec:
    """Run a program inside a running container and return what it printed. It may change anything there."""
    found = (await inspect(ctx, params.container)).value
    if found.state.status != "running":
        raise Conflict(
            f"{found.name} on {ctx.device.hostname} is {found.state.status}.", hint="Start it with container_start."
        )
    capabilities = await ctx.links.capabilities(ctx.device)
    for program in (engine_of(capabilities), "timeout"):
        if program not in capabilities.tools:
            raise CommandNotAvailable(
                f"{ctx.device.hostname} has no {program}.", hint=f"Install {program} there; reading works without it."
            )
    output = await run(
        ctx,
        ExecInContainer(
            seconds=params.timeout_seconds,
            container=found.id,
            argv=params.argv,
            user=params.user,
            workdir=params.workdir,
        ),
    )
    timed_out = output.exit_status in _TIMED_OUT and output.duration_s >= params.timeout_seconds
    stdout, stderr = _text(output.stdout), _text(output.stderr)
    return ContainerExec(
        device=ctx.device.hostname,
        name=found.name,
        exit_code=None if timed_out else output.exit_status,
        timed_out=timed_out,
        stdout=stdout[:_SHOWN],
        stderr=stderr[:_SHOWN],
        truncated=output.truncated or max(len(stdout), len(stderr)) > _SHOWN,
    )


def _text(raw: bytes) -> str:
    # Masking is for what is shown; it would take long over what is not.
    return clean(mask_secrets(raw[: 4 * _SHOWN].decode("utf-8", "replace")))
