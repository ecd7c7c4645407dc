"""Results of the drive operations. None is unknown; bytes, seconds and percent are in the names."""

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
    drives: list[DriveIo] = Field(description="Those that did something, busiest first; partitions folded in.")
    idle: list[str] = Field(description="Names of those that did nothing.")
