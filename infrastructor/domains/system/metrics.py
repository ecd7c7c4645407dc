"""From two samples of a machine to `SystemMetrics`. Pure."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from infrastructor.domains.system import parsers
from infrastructor.domains.system.models import (
    Cpu,
    Disk,
    Load,
    Mount,
    MountState,
    NetworkInterface,
    SystemMetrics,
    Temperature,
)
from infrastructor.domains.system.models import Memory as MemoryUse
from infrastructor.domains.system.samples import Memory, MountEntry, Sample, Usage
from infrastructor.ports.series import MetricSample


def remote_paths(sample: Sample) -> list[str]:
    """Mounts to ask one by one because they may hang."""
    return [entry.path for entry in sample.mounts if parsers.may_hang(entry.type)]


def compare(device: str, before: Memory, after: Memory, remote: Mapping[str, Usage | None]) -> SystemMetrics:
    """State from the later sample, rates from the difference.

    A counter that went backwards (a reboot, a replaced interface) gives None, not a negative rate.
    """
    earlier, sample = before.sample, after.sample
    seconds = after.taken_at - before.taken_at
    rebooted = sample.uptime_s < earlier.uptime_s
    if rebooted or seconds <= 0:
        earlier, seconds = sample, 0.0
    return SystemMetrics(
        device=device,
        uptime_seconds=int(sample.uptime_s),
        load=Load(one=sample.load[0], five=sample.load[1], fifteen=sample.load[2]),
        cpu=_cpu(earlier, sample, seconds),
        memory=_memory(sample),
        mounts=[_mount(entry, sample, after.hung_until, remote) for entry in sample.mounts],
        disks=[
            Disk(
                name=name,
                read_bytes_per_second=_rate(earlier.disks.get(name), disk, "read_bytes", seconds),
                written_bytes_per_second=_rate(earlier.disks.get(name), disk, "written_bytes", seconds),
                busy_percent=_busy(_rate(earlier.disks.get(name), disk, "busy_ms", seconds)),
            )
            for name, disk in sorted(sample.disks.items())
        ],
        network=[
            NetworkInterface(
                name=name,
                received_bytes=counters.received_bytes,
                sent_bytes=counters.sent_bytes,
                errors=counters.errors,
                dropped=counters.dropped,
                received_bytes_per_second=_rate(earlier.interfaces.get(name), counters, "received_bytes", seconds),
                sent_bytes_per_second=_rate(earlier.interfaces.get(name), counters, "sent_bytes", seconds),
            )
            for name, counters in sorted(sample.interfaces.items())
        ],
        temperatures=[Temperature(sensor=name, celsius=value) for name, value in sample.temperatures],
    )


def history_row(device_id: UUID, now: datetime, metrics: SystemMetrics) -> MetricSample:
    """The row of `system_metrics` for an answer; disk use is the root file system's."""
    root = next((mount for mount in metrics.mounts if mount.path == "/"), None)
    return MetricSample(
        device_id=device_id,
        timestamp=now,
        cpu_usage_percent=metrics.cpu.usage_percent,
        memory_usage_percent=metrics.memory.usage_percent,
        disk_usage_percent=None if root is None else root.usage_percent,
        load_average_1m=metrics.load.one,
        uptime_seconds=metrics.uptime_seconds,
        metadata={
            "mounts": {mount.path: mount.usage_percent for mount in metrics.mounts},
            "network": {
                interface.name: [interface.received_bytes_per_second, interface.sent_bytes_per_second]
                for interface in metrics.network
            },
            "temperature_celsius": max((reading.celsius for reading in metrics.temperatures), default=None),
        },
    )


def _cpu(earlier: Sample, sample: Sample, seconds: float) -> Cpu:
    total = sample.cpu.total - earlier.cpu.total
    idle = sample.cpu.idle - earlier.cpu.idle
    iowait = sample.cpu.iowait - earlier.cpu.iowait
    known = total > 0
    return Cpu(
        usage_percent=_percent(total - idle - iowait, total) if known else None,
        iowait_percent=_percent(iowait, total) if known else None,
        steal_percent=_percent(sample.cpu.steal - earlier.cpu.steal, total) if known else None,
        threads=sample.cpu.threads,
        sampled_over_seconds=round(seconds, 2) if known else None,
    )


def _memory(sample: Sample) -> MemoryUse:
    values = sample.memory
    total = values["MemTotal"]
    available = values.get("MemAvailable")
    if available is None and "MemFree" in values:  # kernels before 3.14
        available = values["MemFree"] + values.get("Buffers", 0) + values.get("Cached", 0)
    swap = values.get("SwapTotal", 0)
    return MemoryUse(
        total_bytes=total,
        available_bytes=available,
        usage_percent=None if available is None else _percent(total - available, total),
        swap_total_bytes=swap,
        swap_used_bytes=swap - values.get("SwapFree", 0),
        zfs_arc_bytes=sample.zfs_arc_bytes,
    )


def _mount(entry: MountEntry, sample: Sample, hung: Mapping[str, float], remote: Mapping[str, Usage | None]) -> Mount:
    usage = sample.usage.get(entry.path) or remote.get(entry.path)
    state = MountState.HUNG if entry.path in hung else MountState.OK if usage else MountState.UNKNOWN
    reachable = None if usage is None else usage.used_bytes + usage.available_bytes
    return Mount(
        path=entry.path,
        source=entry.source,
        type=entry.type,
        state=state,
        read_only=entry.read_only,
        total_bytes=None if usage is None else usage.total_bytes,
        used_bytes=None if usage is None else usage.used_bytes,
        available_bytes=None if usage is None else usage.available_bytes,
        usage_percent=_percent(usage.used_bytes, reachable) if usage and reachable else None,
        inodes_usage_percent=_percent(usage.inodes - usage.inodes_free, usage.inodes)
        if usage and usage.inodes
        else None,
    )


def _rate(earlier: object | None, later: object, name: str, seconds: float) -> float | None:
    if earlier is None or seconds <= 0:
        return None
    difference: int = getattr(later, name) - getattr(earlier, name)
    return round(difference / seconds, 1) if difference >= 0 else None


def _busy(milliseconds_per_second: float | None) -> float | None:
    return None if milliseconds_per_second is None else min(100.0, round(milliseconds_per_second / 10, 1))


def _percent(part: float, whole: float) -> float:
    return round(min(100.0, max(0.0, 100 * part / whole)), 2) if whole else 0.0
