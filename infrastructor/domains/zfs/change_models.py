"""Results of operations that change ZFS. None is unknown; bytes, seconds and percent are in the names."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from infrastructor.domains.zfs.models import Activity, absent
from infrastructor.operation import DestroyResult, Result


class TakenSnapshot(Result):
    """A snapshot that was just taken."""

    name: str = Field(description="Dataset@name.")
    guid: str = Field(description="The same on every machine it is sent to.")
    created_at: datetime | None = Field(description="When it was taken (UTC).")


class SnapshotsTaken(Result):
    """Snapshots taken in one instant."""

    device: str = Field(description="Device name.")
    snapshot: str = Field(description="The one of the named dataset, e.g. tank/data@monday.")
    snapshots: list[TakenSnapshot] = Field(description="All of them, as far as they fit.")
    total: int = Field(description="How many were taken.")
    hold: str | None = Field(description="Tag that keeps them from being destroyed.")


class CloneMade(Result):
    """A dataset made from a snapshot."""

    device: str = Field(description="Device name.")
    dataset: str = Field(description="The new dataset.")
    origin: str = Field(description="Its snapshot, which cannot go while the clone is there.")
    mountpoint: str | None = Field(description="Where it is mounted; null for a volume, or when it is not.")
    guid: str = Field(description="GUID of the dataset.")


class SnapshotsDestroyed(DestroyResult):
    """What a destruction took."""

    destroyed: list[str] = Field(default_factory=list, description="What is gone, as far as it fits.")
    total: int = Field(default=0, description="How many are gone.")
    reclaimed_bytes: int | None = Field(default=None, description="Space freed; ZFS gives it back in the background.")


class RolledBackTo(DestroyResult):
    """A dataset put back to a snapshot."""

    dataset: str | None = Field(default=None, description="Dataset.")
    snapshot: str | None = Field(default=None, description="Its state now, and its newest snapshot.")
    destroyed: list[str] = Field(default_factory=list, description="Newer snapshots, bookmarks and clones now gone.")
    total: int = Field(default=0, description="How many are gone.")


class ScrubState(Result):
    """What became of a scrub."""

    device: str = Field(description="Device name.")
    pool: str = Field(description="Pool.")
    changed: bool = Field(description="False: it was so already.")
    scrub: Activity | None = Field(description="As it stands now; null where there never was one.")
    message: str = Field(description="In words.")


class TransferStep(Result):
    """One stream of a transfer."""

    kind: Literal["full", "incremental", "resume"] = Field(description="resume: the rest of a broken one.")
    snapshot: str = Field(description="What it brings.")
    base: str | None = Field(default=None, exclude_if=absent, description="What it starts from.")
    estimated_bytes: int | None = Field(default=None, description="What zfs send -nvP says; rough.")
    sent_bytes: int | None = Field(
        default=None, exclude_if=absent, description="Passed; unless through this server, as zfs told last."
    )
    duration_seconds: float | None = Field(default=None, exclude_if=absent, description="How long it took.")


class TransferFields(Result):
    """What a transfer did, or would do."""

    device: str | None = Field(default=None, description="Where the snapshot is.")
    snapshot: str | None = Field(default=None, description="What was sent.")
    target_device: str | None = Field(default=None, description="Where it went.")
    target: str | None = Field(default=None, description="Dataset that received it.")
    outcome: Literal["sent", "estimated", "unchanged"] | None = Field(
        default=None, description="unchanged: the target had it already."
    )
    route: Literal["server", "direct", "local"] | None = Field(
        default=None, description="Through this server, from device to device, or within one."
    )
    raw: bool | None = Field(default=None, description="Sent as it is on disk, encrypted.")
    steps: list[TransferStep] = Field(default_factory=list, description="Streams, in order.")
    sent_bytes: int | None = Field(default=None, description="Of all streams.")
    bytes_per_second: int | None = Field(default=None, description="Mean speed.")
    interruptions: int = Field(default=0, description="How often it broke and went on by itself.")
    guid: str | None = Field(default=None, description="GUID of the snapshot.")
    verified: bool | None = Field(default=None, description="The target has a snapshot of this GUID.")
    message: str | None = Field(default=None, description="In words.")


class Transfer(TransferFields):
    """What a transfer did, or would do."""


class ForcedTransfer(TransferFields, DestroyResult):
    """A transfer that first made room on its target."""

    destroyed: list[str] = Field(default_factory=list, description="Snapshots of the target now gone.")


class InterruptedReceive(Result):
    """A receive that broke off and can go on."""

    dataset: str = Field(description="Dataset that was receiving.")
    snapshot: str | None = Field(description="What was being sent, under its name at the source.")
    guid: str | None = Field(description="GUID of that snapshot.")
    base_guid: str | None = Field(description="GUID of what the stream starts from; null for a full one.")
    received_bytes: int | None = Field(description="What has come so far.")


class InterruptedReceives(Result):
    """Receives of a device that broke off."""

    device: str = Field(description="Device name.")
    receives: list[InterruptedReceive] = Field(description="One per dataset.")
    total: int = Field(description="How many there are.")


class ReceiveAborted(DestroyResult):
    """An interrupted receive that was thrown away."""

    dataset: str | None = Field(default=None, description="Dataset that was receiving.")
    dropped_bytes: int | None = Field(default=None, description="What had come and is gone.")
