"""Sending a snapshot, receiving one, and what is left of receives that broke off."""

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from infrastructor.domains.zfs.change_commands import AbortReceive, DestroySnapshots, RollBack
from infrastructor.domains.zfs.change_models import (
    ForcedTransfer,
    InterruptedReceives,
    ReceiveAborted,
    Transfer,
)
from infrastructor.domains.zfs.commands import ExamineZfs
from infrastructor.domains.zfs.forcing import Force, forcing
from infrastructor.domains.zfs.losses import LookAtDestruction, LookAtTrees
from infrastructor.domains.zfs.models import DatasetName, SnapshotName
from infrastructor.domains.zfs.reach import asked
from infrastructor.domains.zfs.replica import ReadReplica, Replica
from infrastructor.domains.zfs.snapshot_operations import CHANGED, look_at
from infrastructor.domains.zfs.stream_commands import ListInterrupted, ReadToken
from infrastructor.domains.zfs.stream_plan import Wish
from infrastructor.domains.zfs.transfer import COMMANDS, Job, Outcome, carry, coming, look
from infrastructor.errors import Conflict, DeviceNotFound, NotFound, ValidationFailed
from infrastructor.operation import (
    PLAIN,
    Context,
    DestroyParams,
    DeviceName,
    DeviceParams,
    Params,
    PlanDraft,
    operation,
)
from infrastructor.paging import ROWS_BUDGET, fitting
from infrastructor.ports.callers import Effect
from infrastructor.ports.devices import Device
from infrastructor.protection import check_writable

_DEADLINE = timedelta(days=4)
_SHOWN = 200


class _Way(Params):
    """How a stream goes."""

    raw: bool | None = Field(default=None, description="-w; by default where encrypted.")
    direct: bool = Field(default=False, description="Not through this server.")


class _Stream(_Way):
    """How a snapshot is sent."""

    base: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9@#][^\x00-\x1f]*$", max_length=255)] | None = Field(
        default=None, description="Start: snapshot or #bookmark; else newest common."
    )
    intermediates: bool = Field(default=False, description="Those between too (-I).")
    bytes_per_second: int | None = Field(default=None, ge=1024, description="Limit.", json_schema_extra=PLAIN)
    dry_run: bool = Field(default=False, description="Only estimate.", json_schema_extra=PLAIN)


class SendParams(DeviceParams, _Stream):
    """Input of zfs_snapshot_send."""

    snapshot: SnapshotName
    target: DatasetName = Field(description="Dataset that gets it; made where it is new.", json_schema_extra=PLAIN)
    target_device: DeviceName | None = None


@operation(
    name="zfs_snapshot_send",
    effect=Effect.CHANGE,
    route="POST /api/zfs/{device}/send",
    invalidates=CHANGED,
    commands=(*COMMANDS, ExamineZfs),
    deadline=_DEADLINE,
    background=True,
)
async def zfs_snapshot_send(ctx: Context, params: SendParams) -> Transfer:
    """Send a ZFS snapshot to another dataset or device: incremental where it can, resumes, verifies. Loses nothing."""
    target = ctx.device if params.target_device is None else await device_named(ctx, params.target_device)
    job = _job(params, source=ctx.device, target=target, dataset=params.target, snapshot=params.snapshot)
    return await _transfer(ctx, job, dry_run=params.dry_run)


class ReceiveParams(DeviceParams, _Stream):
    """Input of zfs_snapshot_receive."""

    dataset: DatasetName = Field(description="Dataset that gets it; made where it is new.", json_schema_extra=PLAIN)
    source_device: DeviceName
    snapshot: SnapshotName | None = Field(default=None, description="Absent: resumes.")


@operation(
    name="zfs_snapshot_receive",
    effect=Effect.CHANGE,
    route="POST /api/zfs/{device}/receive",
    invalidates=CHANGED,
    commands=(*COMMANDS, ExamineZfs),
    deadline=_DEADLINE,
    background=True,
)
async def zfs_snapshot_receive(ctx: Context, params: ReceiveParams) -> Transfer:
    """Fetch a ZFS snapshot from another device, or resume what broke off. See zfs_snapshot_send."""
    source = await device_named(ctx, params.source_device)
    snapshot = params.snapshot or await _interrupted(ctx, params.dataset)
    job = _job(params, source=source, target=ctx.device, dataset=params.dataset, snapshot=snapshot)
    return await _transfer(ctx, job, dry_run=params.dry_run)


async def _interrupted(ctx: Context, dataset: str) -> str:
    replica = await look_at(ctx, dataset)
    if replica.token is None:
        raise NotFound(
            f"{dataset} on {ctx.device.hostname} waits for nothing: no receive of it broke off.",
            hint="Name the snapshot to fetch; zfs_receive_list tells what broke off.",
        )
    rest = await asked(ctx, ReadToken(token=replica.token))
    if rest.snapshot is None:
        raise Conflict(
            f"What {dataset} on {ctx.device.hostname} waits for cannot be read from its token.",
            hint="Name the snapshot, or throw away what has come with zfs_receive_abort.",
        )
    return rest.snapshot


async def device_named(ctx: Context, name: str) -> Device:
    device = await ctx.devices.find(name)
    if device is None:
        raise DeviceNotFound(f"No device is named {name!r}.")
    return device


def _job(params: _Way, *, source: Device, target: Device, dataset: str, snapshot: str) -> Job:
    wish, limit = Wish(snapshot=snapshot, raw=params.raw), None
    if isinstance(params, _Stream):
        wish = replace(wish, base=params.base, intermediates=params.intermediates)
        limit = params.bytes_per_second
    if source.id == target.id and snapshot.partition("@")[0] == dataset:
        raise ValidationFailed("A snapshot cannot be sent into the dataset that it is of.")
    return Job(
        source=source,
        target=target,
        dataset=dataset,
        wish=wish,
        direct=params.direct,
        limit=limit,
    )


async def _transfer(ctx: Context, job: Job, *, dry_run: bool) -> Transfer:
    check_writable(job.target, "Receiving a snapshot")
    if dry_run:
        ends = await look(ctx, job)
        if ends.done:
            return Transfer(**_answer(job, Outcome(wanted=ends.wanted, verified=True), "unchanged"))
        leg = await coming(ctx, job, ends)
        outcome = Outcome(wanted=ends.wanted, raw=leg.stream.raw, steps=[leg.step])
        return Transfer(**_answer(job, outcome, "estimated"))
    outcome = await carry(ctx, job)
    return Transfer(**_answer(job, outcome, "sent" if outcome.steps else "unchanged"))


def _answer(job: Job, outcome: Outcome, kind: str) -> dict[str, Any]:
    seconds = sum(step.duration_seconds or 0.0 for step in outcome.steps)
    sent = outcome.sent_bytes if kind == "sent" else None
    where = f"{job.dataset} on {job.target.hostname}"
    message = {
        "sent": f"{where} has {outcome.wanted.name}, by its GUID.",
        "unchanged": f"{where} had {outcome.wanted.name} already.",
        "estimated": f"Nothing was sent. This would be the next stream to {where}.",
    }[kind]
    return {
        "device": job.source.hostname,
        "snapshot": outcome.wanted.name,
        "target_device": job.target.hostname,
        "target": job.dataset,
        "outcome": kind,
        "route": job.route,
        "raw": outcome.raw,
        "steps": outcome.steps,
        "sent_bytes": sent,
        "bytes_per_second": round(sent / seconds) if sent and seconds else None,
        "interruptions": outcome.interruptions,
        "guid": outcome.wanted.guid,
        "verified": outcome.verified,
        "message": message,
    }


# --- what broke off ------------------------------------------------------------------------------------


@operation(
    name="zfs_receive_list",
    effect=Effect.READ,
    route="GET /api/zfs/{device}/receives",
    commands=(ListInterrupted, ExamineZfs),
)
async def zfs_receive_list(ctx: Context, params: DeviceParams) -> InterruptedReceives:
    """List receives of ZFS snapshots that broke off and hold space. zfs_snapshot_receive goes on with one."""
    found = await asked(ctx, ListInterrupted())
    return InterruptedReceives(device=ctx.device.hostname, receives=list(found[:_SHOWN]), total=len(found))


class AbortParams(DestroyParams):
    """Input of zfs_receive_abort."""

    dataset: DatasetName


async def _plan_abort(ctx: Context, params: AbortParams) -> PlanDraft:
    replica = await look_at(ctx, params.dataset)
    if replica.token is None:
        raise NotFound(f"{params.dataset} on {ctx.device.hostname} waits for nothing: no receive of it broke off.")
    rest = await asked(ctx, ReadToken(token=replica.token))
    new = not replica.snapshots
    command = AbortReceive(dataset=params.dataset).variant(await ctx.links.capabilities(ctx.device))
    came = "an unknown number of" if rest.received_bytes is None else f"{rest.received_bytes:,}"
    effects = [
        f"{came} bytes of {rest.snapshot or 'a snapshot'} that came are lost; it can be sent anew, from the start."
    ]
    if new:
        effects.append(f"{params.dataset} was made by this receive and goes with it.")
    return PlanDraft(
        summary=f"Throw away the interrupted receive of {params.dataset} on {ctx.device.hostname}.",
        effects=tuple(effects),
        fingerprint=f"{replica.guid} {replica.token}",
        commands=(command.summary(),),
        found=(replica, rest.received_bytes),
    )


@operation(
    name="zfs_receive_abort",
    effect=Effect.DESTROY,
    route="DELETE /api/zfs/{device}/receives",
    invalidates=CHANGED,
    commands=(AbortReceive, ReadReplica, ReadToken, ExamineZfs),
    plan=_plan_abort,
)
async def zfs_receive_abort(ctx: Context, params: AbortParams) -> ReceiveAborted:
    """Throw away what a receive that broke off has brought. Without plan_token it only plans."""
    replica, dropped = ctx.planned(tuple)
    assert isinstance(replica, Replica)  # noqa: S101
    await asked(ctx, AbortReceive(dataset=params.dataset), params.dataset)
    if (await look_at(ctx, params.dataset)).token is not None:
        raise Conflict(f"{params.dataset} on {ctx.device.hostname} still waits for the rest.")
    return ReceiveAborted(status="done", dataset=params.dataset, dropped_bytes=dropped)


class ForceParams(DestroyParams, _Way):
    """Input of zfs_receive_force."""

    dataset: DatasetName = Field(description="Dataset that loses what is in the way.", json_schema_extra=PLAIN)
    source_device: DeviceName | None = None
    snapshot: SnapshotName


async def _plan_force(ctx: Context, params: ForceParams) -> PlanDraft:
    job = await _forced_job(ctx, params)
    force = await forcing(ctx, job)
    return PlanDraft(
        summary=f"Make room for {params.snapshot} in {params.dataset} on {ctx.device.hostname}, then receive it.",
        effects=tuple(fitting(force.effects(_SHOWN), ROWS_BUDGET // 2)),
        fingerprint=force.fingerprint,
        commands=tuple(command.summary() for command in force.commands),
        found=force,
    )


async def _forced_job(ctx: Context, params: ForceParams) -> Job:
    source = ctx.device if params.source_device is None else await device_named(ctx, params.source_device)
    return _job(params, source=source, target=ctx.device, dataset=params.dataset, snapshot=params.snapshot)


@operation(
    name="zfs_receive_force",
    effect=Effect.DESTROY,
    route="POST /api/zfs/{device}/receive/force",
    invalidates=CHANGED,
    commands=(*COMMANDS, RollBack, DestroySnapshots, LookAtDestruction, LookAtTrees, ExamineZfs),
    plan=_plan_force,
    deadline=_DEADLINE,
    background=True,
)
async def zfs_receive_force(ctx: Context, params: ForceParams) -> ForcedTransfer:
    """Receive a ZFS snapshot into a dataset that loses data for it (receive -F). Without plan_token it only plans."""
    force = ctx.planned(Force)
    for command in force.room:
        await asked(ctx, command)
    outcome = await carry(ctx, force.job)
    return ForcedTransfer(status="done", destroyed=force.gone, **_answer(force.job, outcome, "sent"))
