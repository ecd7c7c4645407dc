"""Taking, cloning and destroying snapshots, and going back to one."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from infrastructor.domains.zfs.change_commands import (
    CloneSnapshot,
    DestroySnapshots,
    HoldSnapshots,
    RollBack,
    TakeSnapshots,
)
from infrastructor.domains.zfs.change_models import (
    CloneMade,
    RolledBackTo,
    SnapshotsDestroyed,
    SnapshotsTaken,
    TakenSnapshot,
)
from infrastructor.domains.zfs.commands import ExamineZfs
from infrastructor.domains.zfs.destroying import Destruction, Return, destruction, return_to
from infrastructor.domains.zfs.losses import LookAtDestruction, LookAtTrees
from infrastructor.domains.zfs.models import ZFS_ANSWERS, DatasetName, SnapshotName
from infrastructor.domains.zfs.names import SnapshotSet, SnapshotTemplate, filled
from infrastructor.domains.zfs.reach import asked
from infrastructor.domains.zfs.replica import ReadReplica, Replica
from infrastructor.domains.zfs.taken import ReadTaken
from infrastructor.errors import Conflict, NotFound
from infrastructor.operation import PLAIN, Context, DestroyParams, DeviceParams, PlanDraft, operation
from infrastructor.paging import ROWS_BUDGET, fitting
from infrastructor.ports.callers import Effect

CHANGED = ZFS_ANSWERS
_DEADLINE = timedelta(seconds=900)
_NAMES_BUDGET = ROWS_BUDGET // 2
_EFFECTS_SHOWN = 200

Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:][A-Za-z0-9_.: -]*$", max_length=200)]


class CreateParams(DeviceParams):
    """Input of zfs_snapshot_create."""

    dataset: DatasetName
    name: SnapshotTemplate = "manual-%Y%m%d-%H%M%S"
    recursive: bool = Field(
        default=False, description="All datasets below too, in one instant.", json_schema_extra=PLAIN
    )
    hold: Tag | None = Field(default=None, description="Tag that holds it.")


@operation(
    name="zfs_snapshot_create",
    effect=Effect.CHANGE,
    route="POST /api/zfs/{device}/snapshots",
    invalidates=CHANGED,
    commands=(TakeSnapshots, HoldSnapshots, ReadTaken, ExamineZfs),
    deadline=_DEADLINE,
)
async def zfs_snapshot_create(ctx: Context, params: CreateParams) -> SnapshotsTaken:
    """Take a ZFS snapshot of a dataset, with recursive of all below it in one instant. Costs no space."""
    name = filled(params.name, ctx.now)
    snapshot = f"{params.dataset}@{name}"
    look = ReadTaken(dataset=params.dataset, name=name, recursive=params.recursive)
    there = await asked(ctx, look, params.dataset)
    if there:
        raise Conflict(
            f"{ctx.device.hostname} has {there[0].name} already"
            + (f" and {len(there) - 1} more of that name." if len(there) > 1 else "."),
            hint="Choose another name; %Y%m%d-%H%M%S in it makes it unique.",
        )
    await asked(ctx, TakeSnapshots(snapshot=snapshot, recursive=params.recursive), params.dataset)
    if params.hold is not None:
        await asked(ctx, HoldSnapshots(tag=params.hold, snapshot=snapshot, recursive=params.recursive), snapshot)
    taken = await asked(ctx, look, params.dataset)
    if snapshot not in {one.name for one in taken}:
        raise NotFound(f"{snapshot} was taken on {ctx.device.hostname}, and is gone already.")
    return SnapshotsTaken(
        device=ctx.device.hostname,
        snapshot=snapshot,
        snapshots=_fitting(taken),
        total=len(taken),
        hold=params.hold,
    )


def _fitting(taken: Sequence[TakenSnapshot]) -> list[TakenSnapshot]:
    return list(taken[: ROWS_BUDGET // 200])


class CloneParams(DeviceParams):
    """Input of zfs_snapshot_clone."""

    snapshot: SnapshotName
    target: DatasetName = Field(description="New dataset, in the same pool.", json_schema_extra=PLAIN)
    mountpoint: str | None = Field(
        default=None,
        max_length=1000,
        pattern=r"^(none|legacy|/[^\x00-\x1f]*)$",
        description="Path, none or legacy.",
        json_schema_extra=PLAIN,
    )
    readonly: bool = Field(default=False, description="Nothing can be written to it.", json_schema_extra=PLAIN)
    create_parents: bool = Field(default=False, description="Datasets above it too.", json_schema_extra=PLAIN)


@operation(
    name="zfs_snapshot_clone",
    effect=Effect.CHANGE,
    route="POST /api/zfs/{device}/clones",
    invalidates=CHANGED,
    commands=(CloneSnapshot, ReadReplica, ExamineZfs),
    deadline=_DEADLINE,
)
async def zfs_snapshot_clone(ctx: Context, params: CloneParams) -> CloneMade:
    """Make a writable dataset from a ZFS snapshot, in no time and space. Use it to look at or try old data."""
    dataset, _, _ = params.snapshot.partition("@")
    source, target = await look_at(ctx, dataset), await look_at(ctx, params.target)
    check_there(ctx, source, params.snapshot)
    if target.exists:
        raise Conflict(f"{ctx.device.hostname} has a dataset {params.target} already.", hint="Choose another target.")
    await asked(
        ctx,
        CloneSnapshot(
            snapshot=params.snapshot,
            target=params.target,
            parents=params.create_parents,
            mountpoint=params.mountpoint,
            readonly="on" if params.readonly else None,
        ),
        params.snapshot,
    )
    made = await look_at(ctx, params.target)
    if made.guid is None:
        raise NotFound(f"{params.target} was made on {ctx.device.hostname}, and is gone already.")
    mounted = made.get("mounted") == "yes"
    return CloneMade(
        device=ctx.device.hostname,
        dataset=made.name,
        origin=params.snapshot,
        mountpoint=made.get("mountpoint") if mounted else None,
        guid=made.guid,
    )


async def look_at(ctx: Context, dataset: str) -> Replica:
    """The dataset as it is now; `exists` says whether it is there. Raises `NotFound` when its pool is not."""
    return await asked(ctx, ReadReplica(dataset=dataset), dataset.partition("/")[0])


def check_there(ctx: Context, replica: Replica, snapshot: str) -> None:
    """Raise `NotFound` unless the dataset has this snapshot."""
    if not replica.exists:
        raise NotFound(
            f"{ctx.device.hostname} has no dataset {replica.name!r}.", hint="zfs_dataset_list tells which there are."
        )
    if snapshot not in {point.name for point in replica.snapshots}:
        newest = ", ".join(point.short for point in replica.snapshots[:-6:-1]) or "none"
        raise NotFound(f"{ctx.device.hostname} has no {snapshot!r}.", hint=f"Its newest: {newest}.")


# --- destruction -------------------------------------------------------------------------------------


class DestroySnapshotParams(DestroyParams):
    """Input of zfs_snapshot_destroy."""

    snapshots: SnapshotSet
    recursion: Literal["none", "descendants", "clones"] = Field(
        default="none", description="descendants: those below too; clones: and clones with all in them."
    )


async def _plan_destruction(ctx: Context, params: DestroySnapshotParams) -> PlanDraft:
    found = await destruction(ctx, params.snapshots, params.recursion)
    count = len(found.losses.things)
    return PlanDraft(
        summary=f"Destroy {count} {'snapshot' if count == 1 else 'snapshots and datasets'} on {ctx.device.hostname}.",
        effects=tuple(fitting(found.effects(_EFFECTS_SHOWN), _NAMES_BUDGET)),
        fingerprint=found.losses.fingerprint(),
        commands=(found.command.summary(),),
        found=found,
    )


@operation(
    name="zfs_snapshot_destroy",
    effect=Effect.DESTROY,
    route="DELETE /api/zfs/{device}/snapshots",
    invalidates=CHANGED,
    commands=(DestroySnapshots, LookAtDestruction, LookAtTrees, ExamineZfs),
    plan=_plan_destruction,
    deadline=_DEADLINE,
)
async def zfs_snapshot_destroy(ctx: Context, params: DestroySnapshotParams) -> SnapshotsDestroyed:
    """Destroy ZFS snapshots for ever. Without plan_token it only plans: what goes, clones, holds, space freed."""
    found = ctx.planned(Destruction)
    await asked(ctx, found.command)
    left = await ctx.run(LookAtDestruction(spec=found.spec, recursion=found.deep))
    guids = {thing.guid for thing in found.losses.things}
    still = [thing.name for thing in left.things if thing.guid in guids]
    if still:
        raise Conflict(f"{len(still)} of them are still on {ctx.device.hostname}: {', '.join(still[:5])}.")
    names = [thing.name for thing in found.losses.things]
    return SnapshotsDestroyed(
        status="done",
        destroyed=fitting(names, _NAMES_BUDGET),
        total=len(names),
        reclaimed_bytes=found.losses.reclaim_bytes,
    )


class RollbackParams(DestroyParams):
    """Input of zfs_snapshot_rollback."""

    snapshot: SnapshotName
    destroy_newer: bool = Field(
        default=False, description="Newer snapshots and bookmarks too.", json_schema_extra=PLAIN
    )
    destroy_clones: bool = Field(default=False, description="Clones of the newer ones too.", json_schema_extra=PLAIN)


async def _plan_rollback(ctx: Context, params: RollbackParams) -> PlanDraft:
    found = await return_to(ctx, params.snapshot, newer=params.destroy_newer, clones=params.destroy_clones)
    return PlanDraft(
        summary=f"Put {found.dataset} on {ctx.device.hostname} back to {params.snapshot}.",
        effects=tuple(fitting(found.effects(_EFFECTS_SHOWN), _NAMES_BUDGET)),
        fingerprint=found.fingerprint,
        commands=(found.command.summary(),),
        found=found,
    )


@operation(
    name="zfs_snapshot_rollback",
    effect=Effect.DESTROY,
    route="POST /api/zfs/{device}/rollback",
    invalidates=CHANGED,
    commands=(RollBack, ReadReplica, LookAtDestruction, LookAtTrees, ExamineZfs),
    plan=_plan_rollback,
    deadline=_DEADLINE,
)
async def zfs_snapshot_rollback(ctx: Context, params: RollbackParams) -> RolledBackTo:
    """Put a dataset back to a ZFS snapshot: all that came later is lost. Without plan_token it only plans."""
    found = ctx.planned(Return)
    await asked(ctx, found.command)
    now = await look_at(ctx, found.dataset)
    newest = now.snapshots[-1].guid if now.snapshots else None
    if newest != found.guid:
        raise Conflict(f"{params.snapshot} is not the newest snapshot of {found.dataset} after going back to it.")
    return RolledBackTo(
        status="done",
        dataset=found.dataset,
        snapshot=params.snapshot,
        destroyed=fitting(found.gone, _NAMES_BUDGET),
        total=len(found.gone),
    )
