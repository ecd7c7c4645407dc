"""Results on datasets and snapshots. None is unknown; bytes are in the names."""

from datetime import datetime

from pydantic import Field

from infrastructor.domains.zfs.models import absent
from infrastructor.operation import Result


class Dataset(Result):
    """A file system or volume in a list; what it does not have is left out."""

    name: str = Field(description="Dataset.")
    type: str = Field(description="filesystem or volume.")
    used_bytes: int | None = Field(description="With its children, snapshots and reservations.")
    available_bytes: int | None = Field(description="What it could still take.")
    referenced_bytes: int | None = Field(description="Its own contents now.")
    used_by_snapshots_bytes: int | None = Field(
        default=None, exclude_if=absent, description="Freed if all its snapshots went."
    )
    used_by_children_bytes: int | None = Field(default=None, exclude_if=absent, description="In the datasets below.")
    used_by_reservation_bytes: int | None = Field(default=None, exclude_if=absent, description="By refreservation.")
    written_bytes: int | None = Field(default=None, exclude_if=absent, description="Since its newest snapshot.")
    compress_ratio: float | None = Field(default=None, exclude_if=absent, description="1.0 is not compressed.")
    quota_bytes: int | None = Field(default=None, exclude_if=absent, description="Limit with children and snapshots.")
    refquota_bytes: int | None = Field(default=None, exclude_if=absent, description="Limit of its own contents.")
    volume_bytes: int | None = Field(default=None, exclude_if=absent, description="Size of a volume.")
    mounted: bool | None = Field(default=None, exclude_if=absent, description="File systems only.")
    mountpoint: str | None = Field(default=None, exclude_if=absent, description="Path, none or legacy.")
    encryption: str | None = Field(default=None, exclude_if=absent, description="Cipher, where encrypted.")
    key_status: str | None = Field(default=None, exclude_if=absent, description="available or unavailable.")
    origin: str | None = Field(default=None, exclude_if=absent, description="The snapshot it is a clone of.")
    created_at: datetime | None = Field(default=None, exclude_if=absent, description="UTC.")


class DatasetList(Result):
    """Datasets of a device."""

    device: str = Field(description="Device name.")
    datasets: list[Dataset] = Field(description="The rows of this page.")
    total: int = Field(description="How many match.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class Property(Result):
    """A property of a dataset or snapshot, and where its value comes from."""

    name: str = Field(description="e.g. compression; with a colon it is a user property.")
    value: str = Field(description="As exact as ZFS tells it: bytes, seconds since 1970, or a word.")
    source: str = Field(description="local, default, inherited, received, temporary, or none: it is a fact.")
    inherited_from: str | None = Field(default=None, exclude_if=absent, description="The dataset it is set on.")


class DatasetDetail(Result):
    """One dataset or snapshot with its properties."""

    device: str = Field(description="Device name.")
    name: str = Field(description="Dataset or snapshot.")
    type: str | None = Field(description="filesystem, volume, snapshot or bookmark.")
    properties: list[Property] = Field(description="The rows of this page, in the order of ZFS.")
    total: int = Field(description="How many match.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class Snapshot(Result):
    """A ZFS snapshot in a list."""

    name: str = Field(description="dataset@snapshot.")
    created_at: datetime | None = Field(description="UTC.")
    used_bytes: int | None = Field(
        description="Freed if it alone went. What several hold together is in none: zfs_snapshot_usage tells it."
    )
    referenced_bytes: int | None = Field(description="The contents as they were.")
    written_bytes: int | None = Field(description="Since the snapshot before.")
    holds: int = Field(default=0, exclude_if=lambda value: not value, description="Holds that forbid its destruction.")
    clones: list[str] = Field(default_factory=list, exclude_if=absent, description="Datasets that are clones of it.")
    guid: str = Field(description="The same on every copy of it.")


class SnapshotList(Result):
    """ZFS snapshots of a device."""

    device: str = Field(description="Device name.")
    snapshots: list[Snapshot] = Field(description="The rows of this page.")
    total: int = Field(description="How many match.")
    datasets: int = Field(description="Datasets they are of.")
    oldest_at: datetime | None = Field(description="Of all that match (UTC).")
    newest_at: datetime | None = Field(description="Of all that match (UTC).")
    used_bytes: int = Field(description="Sum of used_bytes of all that match; what they share is not in it.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")


class DirectoryChanges(Result):
    """What changed directly in one directory."""

    path: str = Field(description="Directory.")
    added: int = Field(default=0, exclude_if=lambda value: not value, description="New things.")
    removed: int = Field(default=0, exclude_if=lambda value: not value, description="Things that are gone.")
    modified: int = Field(default=0, exclude_if=lambda value: not value, description="Changed things.")
    renamed: int = Field(default=0, exclude_if=lambda value: not value, description="Renamed or moved things.")


class Change(Result):
    """One changed file or directory."""

    change: str = Field(description="added, removed, modified or renamed.")
    type: str = Field(description="file, directory, symlink, block, character, pipe, socket, door, or other.")
    path: str = Field(description="Path; of a renamed one the old.")
    new_path: str | None = Field(default=None, exclude_if=absent, description="Path it has now, of a renamed one.")
    changed_at: datetime | None = Field(default=None, exclude_if=absent, description="Its last inode change (UTC).")


class SnapshotDiff(Result):
    """What differs between two snapshots, or between one and now."""

    device: str = Field(description="Device name.")
    older: str = Field(description="From this snapshot.")
    newer: str = Field(description="To this snapshot, or the dataset as it is now.")
    counts: dict[str, int] = Field(description="How many were added, removed, modified, renamed.")
    directories: list[DirectoryChanges] = Field(description="Where most changed, most first.")
    directories_total: int = Field(description="Directories in which something changed.")
    changes: list[Change] = Field(description="The rows of this page, in the order of ZFS.")
    total: int = Field(description="How many match.")
    complete: bool = Field(description="False: there are more than were read.")
    next_cursor: str | None = Field(description="Pass as cursor for the rest.")
