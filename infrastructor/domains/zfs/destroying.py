"""Plans of destructions: everything that would go, looked at by GUID, and what forbids it."""

from collections.abc import Iterable
from dataclasses import dataclass

from infrastructor.domains.zfs.change_commands import DestroySnapshots, RollBack
from infrastructor.domains.zfs.losses import LookAtDestruction, LookAtTrees, Losses, Thing, bytes_of
from infrastructor.domains.zfs.names import members
from infrastructor.domains.zfs.reach import asked
from infrastructor.domains.zfs.replica import Point, ReadReplica, Replica
from infrastructor.errors import Conflict, NotFound, Protected, ValidationFailed
from infrastructor.operation import Context
from infrastructor.protection import PROTECTED, check_unprotected
from infrastructor.sanitize import clean

MOST = 1000  # things in one plan that a person may still be asked to read
_ROUNDS = 50  # clones of clones
_NAMED = 8
_DEEP = {"none": None, "descendants": "-r", "clones": "-R"}


@dataclass(frozen=True)
class Destruction:
    """What goes, and the command that takes it: named one by one, so that nothing made meanwhile goes with it."""

    spec: str
    deep: str | None
    losses: Losses
    command: DestroySnapshots

    def effects(self, most: int) -> list[str]:
        return [*_space(self.losses), *(_effect(thing) for thing in self.losses.things[:most])]


async def destruction(ctx: Context, spec: str, recursion: str) -> Destruction:
    """Plan it. Raises `NotFound`, `Protected` (a hold or a property forbids), `Conflict` (clones stand in the way)."""
    dataset, singles, ranges = members(spec)
    deep = _DEEP[recursion]
    losses = await asked(ctx, LookAtDestruction(spec=spec, recursion=deep), dataset)
    missing = [f"@{name}" for name in singles if not any(name == _short(thing) for thing in losses.things)]
    if missing or not losses.things:
        said = f" {', '.join(missing[:_NAMED])}" if missing else ""
        raise NotFound(
            f"{dataset} on {ctx.device.hostname} has no such snapshots{said}.",
            hint="zfs_snapshot_list tells which there are.",
        )
    if ranges:
        spec = f"{dataset}@{','.join(dict.fromkeys(_short(thing) for thing in losses.things))}"
        losses = await asked(ctx, LookAtDestruction(spec=spec, recursion=deep), dataset)
    if losses.clones and recursion == "clones":
        losses = await with_clones(ctx, losses)
    check_allowed(ctx, losses)
    _check_clones(ctx, losses, "plan again with recursion=clones")
    command = DestroySnapshots(snapshots=spec, descendants=deep == "-r", clones=deep == "-R")
    return Destruction(spec, deep, losses, await for_device(ctx, command))


async def for_device(ctx: Context, command: DestroySnapshots) -> DestroySnapshots:
    """The command as it will run there, so that the plan shows it."""
    return command.variant(await ctx.links.capabilities(ctx.device))


async def with_clones(ctx: Context, losses: Losses) -> Losses:
    """With every clone, all that is in it, and the clones of that."""
    for _ in range(_ROUNDS):
        wanted = [clone for clone in losses.clones if clone not in losses.names]
        if not wanted:
            return losses
        if len(losses.things) > MOST:
            break
        losses = losses.and_with(await asked(ctx, LookAtTrees(datasets=tuple(wanted))))
    raise ValidationFailed(
        f"More than {MOST} things would go at once.", hint="Destroy the clones first, a few at a time."
    )


def check_allowed(ctx: Context, losses: Losses) -> None:
    """Raise `Protected` for what is held or marked, `ValidationFailed` for more than anybody reads."""
    device = ctx.device.hostname
    for thing in losses.things:
        if thing.protected is not None:
            marks = {PROTECTED: clean(thing.protected, 40)}
            check_unprotected(marks, f"{thing.name} on {device} (by the ZFS property infrastructor:protected)")
    held = [thing for thing in losses.things if thing.holds]
    if held:
        first = held[0]
        tags = ", ".join(clean(tag, 60) for tag in losses.tags.get(first.name, ())) or "unknown"
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        raise Protected(
            f"{first.name} on {device}{more} is held (tags: {tags}), so it may not be destroyed.",
            hint="Whoever holds it needs it. 'zfs release TAG SNAPSHOT' on the device takes a hold off.",
        )
    if len(losses.things) > MOST:
        raise ValidationFailed(
            f"{len(losses.things)} snapshots and datasets would go at once.",
            hint=f"Name at most {MOST}: a smaller range, or without recursion.",
        )


def _check_clones(ctx: Context, losses: Losses, how: str) -> None:
    left = [clone for clone in losses.clones if clone not in losses.names]
    if left:
        named = ", ".join(left[:_NAMED]) + (" …" if len(left) > _NAMED else "")
        raise Conflict(
            f"{len(left)} clones on {ctx.device.hostname} need what would go: {named}.",
            hint=f"Destroy or promote them first; or, to lose them and all that is in them, {how}.",
        )


def _short(thing: Thing) -> str:
    return thing.name.partition("@")[2]


def _space(losses: Losses) -> Iterable[str]:
    clones = [thing for thing in losses.things if not thing.is_snapshot]
    if losses.reclaim_bytes is not None:
        yield f"Destroying the snapshots frees {losses.reclaim_bytes:,} bytes."
    if clones:
        yield f"{len(clones)} clones and datasets in them go with {bytes_of(clones):,} bytes of their own."


def _effect(thing: Thing) -> str:
    made = f" of {thing.created_at:%Y-%m-%d %H:%M} UTC" if thing.created_at else ""
    kind = "Snapshot" if thing.is_snapshot else f"Clone or {thing.kind} in one:"
    return f"{kind} {thing.name}{made} is lost, with {thing.used_bytes:,} bytes that only it holds."


# --- going back --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Return:
    """What going back to a snapshot takes."""

    dataset: str
    guid: str
    written_bytes: int
    newer: tuple[Point, ...]
    losses: Losses
    command: RollBack

    @property
    def gone(self) -> list[str]:
        marks = [point.name for point in self.newer if point.kind == "bookmark"]
        return [*(thing.name for thing in self.losses.things), *marks]

    @property
    def fingerprint(self) -> str:
        return self.losses.fingerprint(self.guid, *(f"{point.kind} {point.guid}" for point in self.newer))

    def effects(self, most: int) -> list[str]:
        since = (
            f"what was written to {self.dataset} since its newest snapshot is lost ({self.written_bytes:,} bytes now)"
        )
        said = [f"{since[0].upper()}{since[1:]}.", *_space(self.losses)]
        said += [_effect(thing) for thing in self.losses.things[:most]]
        return said + [f"Bookmark {point.name} is lost." for point in self.newer if point.kind == "bookmark"]


async def return_to(ctx: Context, snapshot: str, *, newer: bool, clones: bool) -> Return:
    """Plan it. Raises `NotFound`, `Protected`, and `Conflict` for what stands in the way and was not given up."""
    dataset, _, _ = snapshot.partition("@")
    replica = await asked(ctx, ReadReplica(dataset=dataset), dataset)
    point = next((one for one in replica.snapshots if one.name == snapshot), None)
    if point is None:
        newest = ", ".join(one.short for one in replica.snapshots[:-6:-1]) or "none"
        raise NotFound(f"{dataset} on {ctx.device.hostname} has no such snapshot.", hint=f"Its newest: {newest}.")
    check_dataset(ctx, replica)
    later = tuple(one for one in replica.points if one.createtxg > point.createtxg)
    if later and not newer:
        named = ", ".join(one.short for one in later[:_NAMED]) + (" …" if len(later) > _NAMED else "")
        raise Conflict(
            f"{len(later)} snapshots and bookmarks of {dataset} are newer than {snapshot}: {named}.",
            hint="To lose them too, plan again with destroy_newer=true; or clone the old one with zfs_snapshot_clone.",
        )
    losses = await losses_after(ctx, later, clones=clones)
    command = RollBack(snapshot=snapshot, newer=newer and not clones, clones=clones)
    command = command.variant(await ctx.links.capabilities(ctx.device))
    return Return(dataset, point.guid, replica.written_bytes, later, losses, command)


async def losses_after(
    ctx: Context, later: Iterable[Point], *, clones: bool, how: str = "plan again with destroy_clones=true"
) -> Losses:
    """What goes with these newer points. Raises `Protected`, and `Conflict` for clones that were not given up."""
    snapshots = [point for point in later if point.kind == "snapshot"]
    if not snapshots:
        return Losses()
    dataset = snapshots[0].name.partition("@")[0]
    spec = f"{dataset}@{','.join(point.short[1:] for point in snapshots)}"
    losses = await asked(ctx, LookAtDestruction(spec=spec), dataset)
    if clones:
        losses = await with_clones(ctx, losses)
    check_allowed(ctx, losses)
    _check_clones(ctx, losses, how)
    return losses


def check_dataset(ctx: Context, replica: Replica) -> None:
    """Raise `Protected` when the property forbids to lose anything of it."""
    value = replica.get("infrastructor:protected")
    if value is not None:
        what = f"{replica.name} on {ctx.device.hostname} (by the ZFS property infrastructor:protected)"
        check_unprotected({PROTECTED: clean(value, 40)}, what)
