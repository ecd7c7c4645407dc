"""What `receive -F` is for: making room in a target that has gone its own way. Planned, since it loses data."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from infrastructor.command import Command
from infrastructor.domains.zfs.change_commands import DestroySnapshots, RollBack
from infrastructor.domains.zfs.destroying import check_dataset, losses_after
from infrastructor.domains.zfs.losses import Losses
from infrastructor.domains.zfs.replica import Replica
from infrastructor.domains.zfs.stream_commands import ReceiveStream
from infrastructor.domains.zfs.stream_plan import Clash, clash
from infrastructor.domains.zfs.transfer import Ends, Job, look
from infrastructor.errors import Conflict, NotFound
from infrastructor.operation import Context


@dataclass(frozen=True)
class Force:
    """What the target loses, the commands that make room, and the job that follows."""

    job: Job
    target: Replica
    wanted_guid: str
    clash: Clash
    losses: Losses
    room: tuple[Command[None], ...]

    @property
    def gone(self) -> list[str]:
        return [thing.name for thing in self.losses.things]

    @property
    def commands(self) -> tuple[Command[None], ...]:
        return (*self.room, ReceiveStream(dataset=self.job.dataset, force=self.job.overwrite))

    @property
    def fingerprint(self) -> str:
        base = self.clash.base.guid if self.clash.base else "none"
        ends = f"{self.target.guid} {self.wanted_guid} {base}"
        return hashlib.sha256(self.losses.fingerprint(ends).encode()).hexdigest()

    def effects(self, most: int) -> list[str]:
        name = self.job.dataset
        said = [f"{name} cannot take it as it is: {self.clash.message}."]
        if self.clash.base is not None:
            said.append(
                f"{name} goes back to {self.clash.base.short}: all written since is lost "
                f"({self.target.written_bytes:,} bytes now)."
            )
        else:
            said.append(
                f"All that is in {name} is lost once the stream has come whole, its snapshots before it begins."
            )
        if self.losses.reclaim_bytes is not None:
            said.append(f"Destroying the snapshots frees {self.losses.reclaim_bytes:,} bytes.")
        return said + [f"Snapshot {thing.name} of the target is lost." for thing in self.losses.things[:most]]


async def forcing(ctx: Context, job: Job) -> Force:
    """Plan it. Raises `Conflict` when nothing stands in the way, `Protected` for a hold or a property that forbids."""
    ends = await look(ctx, job)
    here = ctx.on(job.target)
    found = _needed(job, ends)
    check_dataset(here, ends.target)
    losses = await losses_after(here, found.newer, clones=False, how="choose another target")
    capabilities = await ctx.links.capabilities(job.target)
    room: Sequence[RollBack | DestroySnapshots]
    if found.base is not None:
        room = [RollBack(snapshot=found.base.name, newer=bool(found.newer))]
    elif found.newer:
        names = ",".join(point.short[1:] for point in found.newer)
        room = [DestroySnapshots(snapshots=f"{job.dataset}@{names}")]
    else:
        room = []
    return Force(
        job=replace(job, overwrite=found.base is None),
        target=ends.target,
        wanted_guid=ends.wanted.guid,
        clash=found,
        losses=losses,
        room=tuple(command.variant(capabilities) for command in room),
    )


def _needed(job: Job, ends: Ends) -> Clash:
    device = job.target.hostname
    if not ends.target.exists:
        raise NotFound(f"{device} has no dataset {job.dataset!r}.", hint="zfs_snapshot_send makes it; nothing is lost.")
    if ends.done:
        raise Conflict(f"{job.dataset} on {device} has {ends.wanted.name} already.")
    if ends.target.token is not None:
        raise Conflict(
            f"{job.dataset} on {device} waits for the rest of a receive that broke off.",
            hint="Go on with zfs_snapshot_receive, or throw it away with zfs_receive_abort first.",
        )
    found = clash(ends.source, ends.target, ends.wanted, job.wish)
    if found is None:
        raise Conflict(
            f"{job.dataset} on {device} can take {ends.wanted.name} without losing anything.",
            hint="Use zfs_snapshot_send or zfs_snapshot_receive.",
        )
    return found
