"""Results on the space that snapshots hold. None is unknown; bytes and seconds are in the names."""

from datetime import datetime

from pydantic import Field

from infrastructor.domains.zfs.models import absent
from infrastructor.operation import Result


class MakerUsage(Result):
    """Snapshots by who made them, told by their names."""

    maker: str = Field(description="e.g. sanoid hourly, zrepl, syncoid; other.")
    snapshots: int = Field(description="How many.")
    unique_bytes: int = Field(description="Sum of what each of them alone would free.")
    oldest_at: datetime | None = Field(description="UTC.")
    newest_at: datetime | None = Field(description="UTC.")


class RangeUsage(Result):
    """What would be freed if a range of snapshots went, as `zfs destroy -nvp` reckons it; nothing is destroyed."""

    what: str = Field(description="all, or older than so many days, or the range that was asked for.")
    snapshots: int = Field(description="How many would go.")
    first: str = Field(description="The oldest of them.")
    last: str = Field(description="The newest of them.")
    reclaim_bytes: int | None = Field(description="Freed, with all they share; null: it could not be reckoned.")
    kept: int = Field(description="Held or cloned snapshots within, which would stay.")
    spans: str = Field(description="As zfs destroy names them; zfs_snapshot_destroy plans it.")


class Gap(Result):
    """A time without a snapshot, much longer than is usual."""

    after: str = Field(description="The snapshot before it.")
    before: str = Field(description="The snapshot after it; now, for the last.")
    seconds: int = Field(description="How long.")


class Kept(Result):
    """A snapshot that cannot be destroyed."""

    snapshot: str = Field(description="dataset@snapshot.")
    holds: int = Field(description="Holds on it.")
    clones: list[str] = Field(default_factory=list, exclude_if=absent, description="Datasets that are clones of it.")


class SnapshotUsage(Result):
    """The space the snapshots of one dataset hold, and what would free it."""

    device: str = Field(description="Device name.")
    dataset: str = Field(description="Dataset; those below it are not counted.")
    snapshots: int = Field(description="How many it has.")
    used_by_snapshots_bytes: int | None = Field(description="Freed if all went.")
    unique_bytes: int = Field(description="Sum of what each alone would free.")
    shared_bytes: int | None = Field(description="Held by several together; freed only when all of those go.")
    oldest_at: datetime | None = Field(description="UTC.")
    newest_at: datetime | None = Field(description="UTC.")
    usual_seconds: int | None = Field(description="From one snapshot to the next, as a rule (median).")
    makers: list[MakerUsage] = Field(description="By who made them, most snapshots first.")
    ranges: list[RangeUsage] = Field(description="What would free how much.")
    largest: list[str] = Field(description="The snapshots that alone hold most, with the bytes.")
    gaps: list[Gap] = Field(description="Where snapshots are missing, widest first.")
    kept: list[Kept] = Field(description="Held or cloned ones, as many as fit.")
    kept_total: int = Field(description="How many are held or cloned.")
