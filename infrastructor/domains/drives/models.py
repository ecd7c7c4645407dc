"""Results of the drive operations. None is unknown; bytes, seconds and percent are in the names."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from infrastructor.operation import Result


class DriveIo(Result):
    """I/O of one block device over the interval."""

    name: str = Field(description="Kernel name, e.g. sda, nvme0n1, dm-0.")
    kind: str = Field(description="disk, raid, mapped, zvol, or other (e.g. nbd, zram).")
    label: str | None = Field(description="Model of a disk, name of a mapping or zvol, level of a RAID.")
    built_on: list[str] = Field(description="Members, for RAID and mapped devices; their I/O is counted there too.")
    reads_per_second: float | None = Field(description="Finished reads.")
    writes_per_second: float | None = Field(description="Finished writes.")
    read_bytes_per_second: float | None = Field(description="Bytes read.")
    written_bytes_per_second: float | None = Field(description="Bytes written.")
    busy_percent: float | None = Field(
        description="Share of the time with I/O under way. 100 is saturation for a spinning disk, not for flash."
    )
    read_latency_ms: float | None = Field(description="Mean time of a read, queue included; None without reads.")
    write_latency_ms: float | None = Field(description="Mean time of a write, queue included; None without writes.")
    queue_depth: float | None = Field(description="Mean number of requests under way.")


class DriveStats(Result):
    """I/O of a device's drives over the interval, busiest first."""

    device: str = Field(description="Device name.")
    sampled_over_seconds: float = Field(description="Length of the interval.")
    drives: list[DriveIo] = Field(description="The 64 busiest of those that did something; partitions folded in.")
    idle: list[str] = Field(description="Names of those that did nothing.")


class Level(StrEnum):
    """How bad: of a drive, or of one finding (note: worth knowing, no reason to act)."""

    OK = "ok"
    NOTE = "note"
    WATCH = "watch"
    FAILING = "failing"
    UNKNOWN = "unknown"


class Finding(Result):
    """One reason for a verdict."""

    level: Level = Field(description="failing, watch or note.")
    code: str = Field(description="Rule or counter, e.g. pending, wear, smart_status.")
    evidence: str = Field(description="What was read, with its values.")
    predicts: str | None = Field(description="What it means for the drive.")


class Trend(Result):
    """A count that grew, from the stored history."""

    counter: str = Field(description="e.g. reallocated, crc_errors.")
    value: int = Field(description="Now.")
    grown_in_24_hours: int | None = Field(description="None: the history is shorter.")
    grown_in_7_days: int | None = Field(description="Since the history began, where it is shorter.")


class Accepted(Result):
    """Who accepted a drive's counts, and when."""

    at: datetime = Field(description="UTC.")
    by: str = Field(description="Who.")


class Drive(Result):
    """One drive, its verdict and the evidence."""

    name: str = Field(description="Device file, e.g. /dev/sda.")
    type: str = Field(description="How smartctl addresses it: sat, nvme, scsi, megaraid,3 …")
    model: str | None = Field(description="Model.")
    serial: str | None = Field(description="Serial number.")
    size_bytes: int | None = Field(description="Capacity.")
    verdict: Level = Field(description="ok, watch, failing or unknown.")
    temperature_celsius: int | None = Field(description="Now.")
    power_on_hours: int | None = Field(description="Time powered on.")
    wear_percent: int | None = Field(description="Rated endurance used up; flash only.")
    counters: dict[str, int] = Field(description="Defects and errors that are not zero.")
    findings: list[Finding] = Field(description="Why, worst first; empty for a drive without any.")
    trends: list[Trend] = Field(description="Counts that grew within a week.")
    baseline: Accepted | None = Field(default=None, description="Its counts were accepted; only growth since alarms.")


class DriveHealth(Result):
    """SMART health of the drives of a device, worst first."""

    device: str = Field(description="Device name.")
    verdict: Level = Field(description="The worst of its drives; unknown without any.")
    counts: dict[str, int] = Field(description="How many drives per verdict.")
    drives: list[Drive] = Field(description="Worst first, as many as fit, 64 at most; counts tells of all.")
    note: str | None = Field(description="What limits this answer: no drives, no history, too many drives.")


class BaselineAccepted(Result):
    """Counts that drive_health no longer alarms on, unless they grow."""

    device: str = Field(description="Device name.")
    drive: str = Field(description="model:serial.")
    accepted: dict[str, int] = Field(description="Counts that are not zero.")
    values_since: datetime = Field(description="When the drive was first read with these values (UTC).")
    accepted_at: datetime = Field(description="Now (UTC).")
    accepted_by: str = Field(description="Who.")
    replaced: dict[str, int] = Field(description="Counts of the baseline before, that were not zero.")
