"""Names of ZFS things, and the results on pools. None is unknown; bytes, seconds and percent are in the names."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from infrastructor.operation import ChangedBy, Result, completes

# What zfs_namecheck takes: blanks too. The first character of a pool is a letter, so none of these is an option.
PART = r"[A-Za-z0-9_.: -]+"
POOL = r"[A-Za-z][A-Za-z0-9_.: -]*"

PoolName = Annotated[
    str,
    StringConstraints(pattern=rf"^{POOL}$", max_length=255),
    Field(description="Pool, e.g. tank.", json_schema_extra=completes("pool")),
]
DatasetName = Annotated[
    str,
    StringConstraints(pattern=rf"^{POOL}(/{PART})*$", max_length=255),
    Field(description="Dataset, e.g. tank/data.", json_schema_extra=completes("dataset")),
]
SnapshotName = Annotated[
    str,
    StringConstraints(pattern=rf"^{POOL}(/{PART})*@{PART}$", max_length=255),
    Field(description="ZFS snapshot, e.g. tank/data@monday.", json_schema_extra=completes("zfs_snapshot")),
]

ZFS = ChangedBy(topic="zfs")
ONE_POOL = ChangedBy(topic="zfs", subject="pool", names=("pool",))

ZFS_ANSWERS = (
    *("zfs_pools", "zfs_pool_status", "zfs_datasets", "zfs_dataset", "zfs_snapshots", "zfs_diff"),
    *("zfs_snapshot_usage", "zfs_health", "zfs_recommendations", "zfs_report"),
)
"""Cached answers that a change of pools, datasets or snapshots makes untrue: what changes them `invalidates` these."""


def absent(value: Any) -> bool:
    """Rows leave out what says nothing: null, and an empty list."""
    return value is None or value == []


class Activity(Result):
    """Something that goes through a pool, or went: the last scrub, a resilver, a removal, an expansion."""

    kind: str = Field(description="scrub, error_scrub, resilver, removal or expansion.")
    state: str = Field(description="running, paused, finished or canceled.")
    vdev: str | None = Field(default=None, exclude_if=absent, description="What it is about, where it is one vdev.")
    started_at: datetime | None = Field(default=None, exclude_if=absent, description="Start (UTC).")
    ended_at: datetime | None = Field(default=None, exclude_if=absent, description="End (UTC).")
    duration_seconds: int | None = Field(default=None, exclude_if=absent, description="How long it took.")
    repaired_bytes: int | None = Field(
        default=None, exclude_if=absent, description="Repaired, resilvered or copied; three digits, as zpool prints."
    )
    errors: int | None = Field(default=None, exclude_if=absent, description="Errors it could not repair.")
    scanned_bytes: int | None = Field(default=None, exclude_if=absent, description="Looked at so far.")
    issued_bytes: int | None = Field(default=None, exclude_if=absent, description="Done so far.")
    total_bytes: int | None = Field(default=None, exclude_if=absent, description="To be done in all.")
    done_percent: float | None = Field(default=None, exclude_if=absent, description="Progress.")
    bytes_per_second: int | None = Field(default=None, exclude_if=absent, description="Mean speed of this pass.")
    seconds_left: int | None = Field(default=None, exclude_if=absent, description="Estimate; null while too slow.")


class Pool(Result):
    """A pool in a list."""

    name: str = Field(description="Pool.")
    state: str = Field(description="ONLINE, DEGRADED, FAULTED, OFFLINE, UNAVAIL, REMOVED or SUSPENDED.")
    size_bytes: int | None = Field(description="Raw capacity; of raidz with its parity.")
    allocated_bytes: int | None = Field(description="Raw space in use.")
    free_bytes: int | None = Field(description="Raw space free.")
    capacity_percent: int | None = Field(description="Share in use.")
    fragmentation_percent: int | None = Field(description="Of the free space.")
    dedup_ratio: float | None = Field(description="1.0 without deduplication.")
    ashift: int | None = Field(description="Default for new vdevs: 12 is 4 KiB; 0 is chosen by each disk.")
    autotrim: bool | None = Field(description="Whether freed space is trimmed at once.")
    read_only: bool | None = Field(description="Imported read-only.")
    expandable_bytes: int | None = Field(default=None, exclude_if=absent, description="Gained by zpool online -e.")
    checkpoint_bytes: int | None = Field(default=None, exclude_if=absent, description="Held by a checkpoint.")
    freeing_bytes: int | None = Field(default=None, exclude_if=absent, description="Still being freed.")
    guid: str = Field(description="Names the pool for ever.")
    errors: int | None = Field(
        default=None, description="Read, write and checksum errors of its vdevs, which state does not show."
    )
    data_errors: int | None = Field(default=None, description="Blocks of files or objects that are lost.")
    message: str | None = Field(default=None, exclude_if=absent, description="Code of what zpool status warns of.")
    activity: Activity | None = Field(default=None, exclude_if=absent, description="Last or running scrub, resilver.")


class PoolList(Result):
    """Pools of a device, those with problems first."""

    device: str = Field(description="Device name.")
    zfs_version: str | None = Field(description="Userland version of OpenZFS.")
    pools: list[Pool] = Field(description="The rows of this page.")
    total: int = Field(description="How many there are.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class Vdev(Result):
    """One node of a pool's tree; the rows stand in the order of the tree, parents first."""

    index: int = Field(description="Row in the tree.")
    parent: int | None = Field(description="Index of the row above; null for the pool and for the top of a class.")
    depth: int = Field(description="0 for the pool.")
    name: str = Field(description="Full path, or e.g. mirror-0; a number where the disk is gone.")
    kind: str = Field(description="pool, mirror, raidz1, draid2, replacing, spare, disk, file, distributed_spare …")
    role: str = Field(description="normal, special, dedup, log, cache or spare.")
    state: str | None = Field(description="ONLINE, DEGRADED, FAULTED, OFFLINE, UNAVAIL, REMOVED; AVAIL, INUSE.")
    read_errors: int | None = Field(default=None, exclude_if=absent, description="Failed reads.")
    write_errors: int | None = Field(default=None, exclude_if=absent, description="Failed writes.")
    checksum_errors: int | None = Field(default=None, exclude_if=absent, description="Wrong contents.")
    slow_ios: int | None = Field(default=None, exclude_if=absent, description="I/Os that took over 30 s; of disks.")
    problem: str | None = Field(default=None, exclude_if=absent, description="Why it is not well, e.g. cannot open.")
    was: str | None = Field(default=None, exclude_if=absent, description="Its path when it was last there.")
    doing: list[str] = Field(default_factory=list, exclude_if=absent, description="resilvering, removing, trimming …")
    configured_block_bytes: int | None = Field(
        default=None, exclude_if=absent, description="Its sector for ZFS, where smaller than its own."
    )
    native_block_bytes: int | None = Field(default=None, exclude_if=absent, description="Its own sector, there.")
    trim: str | None = Field(
        default=None, exclude_if=absent, description="unsupported, never, running, suspended or complete."
    )
    trimmed_at: datetime | None = Field(default=None, exclude_if=absent, description="Last trim began or ended (UTC).")


class PoolState(Result):
    """What zpool status tells of one pool."""

    name: str = Field(description="Pool.")
    state: str = Field(description="ONLINE, DEGRADED, FAULTED, OFFLINE, UNAVAIL, REMOVED or SUSPENDED.")
    status: str | None = Field(default=None, description="What is the matter, in the words of zpool.")
    action: str | None = Field(default=None, description="What zpool says to do.")
    message: str | None = Field(default=None, description="Code of the matter, e.g. ZFS-8000-9P.")
    see: str | None = Field(default=None, description="Page that explains the code.")
    activities: list[Activity] = Field(default_factory=list, description="Scrub, resilver, removal, expansion.")
    checkpoint_at: datetime | None = Field(default=None, description="When its checkpoint was made (UTC).")
    checkpoint_bytes: int | None = Field(default=None, description="Space the checkpoint holds; three digits.")
    data_errors: int | None = Field(
        default=None,
        description="Damaged files; blocks, where error_files is empty; null: not known.",
    )
    error_files: list[str] = Field(default_factory=list, description="The damaged ones, as far as listed.")
    vdevs: list[Vdev] = Field(default_factory=list, description="The tree, parents first.")


class PoolStatus(PoolState):
    """One pool whole: state, what is going on, and its tree of vdevs with their errors."""

    device: str = Field(description="Device name.")
    errors: int = Field(description="Read, write and checksum errors of all disks; state does not show them.")
    slow_ios: int | None = Field(description="Of all disks, over 30 s.")
    unhealthy: list[str] = Field(description="Vdevs that are not well or have errors, with what it is.")
    error_files_total: int = Field(description="How many damaged files are known by name; error_files may be cut.")
    total: int = Field(description="Vdevs in the tree.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest of the vdevs.")
    note: str | None = Field(description="What this answer could not find out.")
