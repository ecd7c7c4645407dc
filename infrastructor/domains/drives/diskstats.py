"""/proc/diskstats twice, and what lies between. Pure.

Fields by the kernel's Documentation/admin-guide/iostats.rst; seen: Linux 4.19 to 6.18. Its sectors are 512 bytes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from infrastructor.domains.drives.models import DriveIo, DriveStats
from infrastructor.errors import ParseError
from infrastructor.sanitize import clean

_SECTOR = 512
_FIELDS = 14
_SHOWN = 64  # rows an answer holds; with more, the busiest
# Optical, floppy and ram disks; loops (their file's disk has the I/O); paths below an NVMe multipath head.
_LEFT_OUT = re.compile(r"^(loop|ram|sr|fd)\d+$|^nvme\d+c\d+n\d+$|^mmcblk\d+(boot|rpmb)\d*$")
_PARTITION = re.compile(r"^((sd|vd|xvd|hd)[a-z]+\d+|(nvme\d+n\d+|mmcblk\d+|nbd\d+|md\d+|loop\d+|zd\d+)p\d+)$")
_KINDS = (
    (re.compile(r"^(sd|vd|hd|xvd)[a-z]+$|^nvme\d+n\d+$|^mmcblk\d+$|^dasd[a-z]+$|^pmem\d+$"), "disk"),
    (re.compile(r"^md"), "raid"),
    (re.compile(r"^dm-"), "mapped"),
    (re.compile(r"^zd\d+$"), "zvol"),
)


@dataclass(frozen=True, slots=True)
class Counters:
    """One line: totals since boot, milliseconds and sectors as the kernel counts them."""

    reads: int
    read_sectors: int
    read_ms: int
    writes: int
    written_sectors: int
    write_ms: int
    busy_ms: int
    queue_ms: int


@dataclass(frozen=True, slots=True)
class Reading:
    """All lines at one moment; `uptime_s` is the device's own clock, so the network does not count."""

    uptime_s: float
    counters: Mapping[str, Counters]


@dataclass(frozen=True, slots=True)
class DiskSample:
    """One or two readings, and what sysfs says of the names in them."""

    readings: tuple[Reading, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def reading(text: str) -> Reading:
    """Uptime on the first line, then /proc/diskstats. Raises `ParseError`."""
    uptime, _, rest = text.strip("\n").partition("\n")
    counters = {}
    try:
        uptime_s = float(uptime)
        for line in rest.splitlines():
            fields = line.split()
            if len(fields) < _FIELDS:
                continue  # a partition line of kernels before 2.6.25 has fewer
            name = fields[2]
            if _LEFT_OUT.match(name) or _PARTITION.match(name):
                continue
            numbers = [int(value) for value in fields[3:_FIELDS]]
            counters[name] = Counters(
                reads=numbers[0],
                read_sectors=numbers[2],
                read_ms=numbers[3],
                writes=numbers[4],
                written_sectors=numbers[6],
                write_ms=numbers[7],
                busy_ms=numbers[9],
                queue_ms=numbers[10],
            )
    except ValueError as error:
        raise ParseError(f"Not a reading of /proc/diskstats: {clean(text, 200)!r}") from error
    return Reading(uptime_s, counters)


def compare(device: str, before: Reading, after: Reading, sample: DiskSample) -> DriveStats:
    """Rates between two readings. Counters that went backwards give None; a reboot in between is refused."""
    seconds = after.uptime_s - before.uptime_s
    if seconds <= 0:
        raise ParseError(f"The two readings of {device} are {seconds:g} s apart.", hint="Ask again: it restarted.")
    busy, idle = [], []
    for name, later in after.counters.items():
        earlier = before.counters.get(name)
        if earlier is None or earlier == later:
            idle.append(name)
            continue
        busy.append(_row(name, earlier, later, seconds, sample))
    busy.sort(key=lambda row: (-(row.busy_percent or 0.0), row.name))
    return DriveStats(
        device=device, sampled_over_seconds=round(seconds, 2), drives=busy[:_SHOWN], idle=sorted(idle)[:_SHOWN]
    )


def _row(name: str, earlier: Counters, later: Counters, seconds: float, sample: DiskSample) -> DriveIo:
    def grown(field_name: str) -> int | None:
        difference: int = getattr(later, field_name) - getattr(earlier, field_name)
        return difference if difference >= 0 else None

    def rate(field_name: str, unit: int = 1) -> float | None:
        difference = grown(field_name)
        return None if difference is None else round(difference * unit / seconds, 1)

    busy, queue = grown("busy_ms"), grown("queue_ms")
    return DriveIo(
        name=name,
        kind=next((kind for pattern, kind in _KINDS if pattern.match(name)), "other"),
        label=sample.labels.get(name),
        built_on=list(sample.members.get(name, ())),
        reads_per_second=rate("reads"),
        writes_per_second=rate("writes"),
        read_bytes_per_second=rate("read_sectors", _SECTOR),
        written_bytes_per_second=rate("written_sectors", _SECTOR),
        busy_percent=None if busy is None else round(min(100.0, busy / seconds / 10), 1),
        read_latency_ms=_mean(grown("read_ms"), grown("reads")),
        write_latency_ms=_mean(grown("write_ms"), grown("writes")),
        queue_depth=None if queue is None else round(queue / seconds / 1000, 2),
    )


def _mean(milliseconds: int | None, count: int | None) -> float | None:
    return round(milliseconds / count, 2) if milliseconds is not None and count else None
