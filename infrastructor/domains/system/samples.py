"""What the kernel's files say, typed: the answers of the parsers before an operation works on them."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Jiffies since boot, summed over all CPUs (`cpu` line of /proc/stat; guest time is inside user time)."""

    total: int
    idle: int
    iowait: int
    steal: int
    threads: int


@dataclass(frozen=True, slots=True)
class InterfaceCounters:
    received_bytes: int
    sent_bytes: int
    errors: int
    dropped: int


@dataclass(frozen=True, slots=True)
class DiskCounters:
    """Whole disks of /proc/diskstats; its sectors are 512 bytes whatever the disk has."""

    read_bytes: int
    written_bytes: int
    busy_ms: int


@dataclass(frozen=True, slots=True)
class MountEntry:
    path: str
    source: str
    type: str
    read_only: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """statfs of one mount, in bytes and inodes."""

    total_bytes: int
    used_bytes: int
    available_bytes: int
    inodes: int
    inodes_free: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Everything one reading of a machine gives."""

    uptime_s: float
    load: tuple[float, float, float]
    cpu: CpuTimes
    memory: Mapping[str, int]
    mounts: tuple[MountEntry, ...]
    usage: Mapping[str, Usage]
    interfaces: Mapping[str, InterfaceCounters]
    disks: Mapping[str, DiskCounters]
    temperatures: tuple[tuple[str, float], ...]
    zfs_arc_bytes: int | None = None


@dataclass(slots=True)
class Memory:
    """What `system_metrics` keeps between two runs on one device, in process memory only."""

    sample: Sample
    taken_at: float  # monotonic seconds, ours
    hung_until: dict[str, float] = field(default_factory=dict)
