"""The kernel's counters of containers, from `ReadCgroups`. Pure.

cgroup v2 and v1 name the same things differently; here they become one `Counters` per container id. v1 counts CPU
time in nanoseconds and says no limit with a number larger than any machine.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from infrastructor.domains.system.parsers import total
from infrastructor.errors import ParseError

# docker-<id>.scope, docker/<id>, libpod-<id>.scope, libpod-payload-<id>; never libpod-conmon-<id>.
_GROUP = re.compile(r"^(?:docker-|libpod-|libpod-payload-|crio-)?([0-9a-f]{64})(?:\.scope)?$")
_NO_LIMIT = 1 << 60  # v1's "unlimited" is 2^63 less a page
_RANGE = re.compile(r"^(\d{1,5})(?:-(\d{1,5}))?$")
_NUMBER = re.compile(r"-?\d{1,20}")


@dataclass(slots=True)
class Counters:
    """One container at one moment; None is unknown, for limits: none is set (`limited` tells)."""

    cpu_us: int | None = None
    periods: int | None = None
    throttled_periods: int | None = None
    quota: float | None = None  # CPUs
    memory: int | None = None
    inactive_file: int = 0
    memory_limit: int | None = None
    oom_kills: int | None = None
    pids: int | None = None
    pids_limit: int | None = None
    read: int | None = None
    written: int | None = None
    received: int | None = None
    sent: int | None = None

    @property
    def memory_used(self) -> int | None:
        """As docker counts it: without file cache that can go at once."""
        return None if self.memory is None else max(0, self.memory - self.inactive_file)


@dataclass(frozen=True, slots=True)
class Reading:
    """All containers at one moment of the device's own clock."""

    uptime_s: float
    containers: Mapping[str, Counters]


@dataclass(frozen=True, slots=True)
class Cgroups:
    """What one run of the script gives: one reading, or two some time apart."""

    cpus: int | None
    memory_total: int | None
    readings: tuple[Reading, ...]

    @property
    def last(self) -> Reading:
        return self.readings[-1]


@dataclass(slots=True)
class _Raw:
    """Lines of a reading by file name, for one container."""

    values: dict[str, list[str]] = field(default_factory=dict)


@total
def from_script(text: str) -> Cgroups:
    """Lines are `cpus 0-3`, `MemTotal: n kB`, `uptime s`, `<path>:<line>`, `pid <n> <group>`."""
    cpus, total = None, None
    uptimes: list[float] = []
    groups: list[dict[str, _Raw]] = []
    pids: dict[str, str] = {}
    networks: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("uptime "):
            uptimes.append(_uptime(line))
            groups.append({})
        elif line.startswith("cpus "):
            cpus = _cpus(line[len("cpus ") :])
        elif line.startswith("MemTotal:"):
            total = _kilobytes(line)
        elif line.startswith("pid "):
            _, pid, group = [*line.split(" ", 2), "", ""][:3]
            name = _container(group)
            if name is not None:
                pids[name] = pid
        elif line.startswith("/proc/"):
            path, _, content = line.partition(":")
            networks.setdefault(path, []).append(content)
        elif groups:
            _keep(groups[-1], line)
    readings = tuple(
        Reading(uptime, {name: _counters(raw.values) for name, raw in found.items()})
        for uptime, found in zip(uptimes, groups, strict=True)
    )
    if not readings:
        return Cgroups(cpus, total, (Reading(0.0, {}),))
    _add_networks(readings[-1].containers, pids, networks)
    return Cgroups(cpus, total, readings)


def _keep(found: dict[str, _Raw], line: str) -> None:
    path, colon, content = _split(line)
    group, _, file = path.rpartition("/")
    name = _container(group)
    if colon and name is not None:
        found.setdefault(name, _Raw()).values.setdefault(file, []).append(content)


def _split(line: str) -> tuple[str, str, str]:
    # A group's name may hold a colon before its files begin (systemd escapes them, others need not).
    at = line.find(":", line.rfind("/", 0, _end_of_path(line)) + 1)
    return (line, "", "") if at < 0 else (line[:at], ":", line[at + 1 :])


def _end_of_path(line: str) -> int:
    at = line.find(" ")
    return len(line) if at < 0 else at


def _container(group: str) -> str | None:
    match = _GROUP.match(group.rpartition("/")[2])
    return match[1] if match else None


def _counters(files: Mapping[str, list[str]]) -> Counters:
    cpu = _pairs(files.get("cpu.stat"))
    memory = _pairs(files.get("memory.stat"))
    events = _pairs(files.get("memory.events") or files.get("memory.oom_control"))
    nanoseconds = _first(files, "cpuacct.usage")
    read, written = _io(files)
    return Counters(
        cpu_us=cpu.get("usage_usec") if nanoseconds is None else nanoseconds // 1000,
        periods=cpu.get("nr_periods"),
        throttled_periods=cpu.get("nr_throttled"),
        quota=_quota(files),
        memory=_first(files, "memory.current", "memory.usage_in_bytes"),
        # v1 counts the group alone in inactive_file, and with its children in total_inactive_file.
        inactive_file=memory.get("total_inactive_file", memory.get("inactive_file", 0)),
        memory_limit=_limit(_first(files, "memory.max", "memory.limit_in_bytes")),
        oom_kills=events.get("oom_kill"),
        pids=_first(files, "pids.current"),
        pids_limit=_limit(_first(files, "pids.max")),
        read=read,
        written=written,
    )


def _pairs(lines: list[str] | None) -> dict[str, int]:
    found = {}
    for line in lines or ():
        name, _, value = line.partition(" ")
        if _NUMBER.fullmatch(value.strip()):
            found[name] = int(value)
    return found


def _first(files: Mapping[str, list[str]], *names: str) -> int | None:
    for name in names:
        for line in files.get(name, ())[:1]:
            if _NUMBER.fullmatch(line.strip()):
                return int(line)
    return None


def _limit(value: int | None) -> int | None:
    return None if value is None or not 0 < value < _NO_LIMIT else value


def _quota(files: Mapping[str, list[str]]) -> float | None:
    words = [word for line in files.get("cpu.max", ())[:1] for word in line.split()]
    if not words:
        words = [str(_first(files, "cpu.cfs_quota_us")), str(_first(files, "cpu.cfs_period_us"))]
    if len(words) != 2 or not all(word.isdecimal() for word in words) or words[1] == "0":  # noqa: PLR2004
        return None
    return round(int(words[0]) / int(words[1]), 3)


def _io(files: Mapping[str, list[str]]) -> tuple[int | None, int | None]:
    """v2: `8:0 rbytes=1 wbytes=2 …`; v1: `8:0 Read 1`, `8:0 Write 2`. A group without any I/O has an empty file."""
    if "memory.current" in files:
        totals = {"rbytes": 0, "wbytes": 0}
        for line in files.get("io.stat", ()):
            for word in line.split()[1:]:
                name, _, value = word.partition("=")
                if name in totals and value.isdecimal():
                    totals[name] += int(value)
        return totals["rbytes"], totals["wbytes"]
    lines = files.get("blkio.throttle.io_service_bytes_recursive") or files.get("blkio.throttle.io_service_bytes") or ()
    found = {"Read": 0, "Write": 0}
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[1] in found and words[2].isdecimal():  # noqa: PLR2004
            found[words[1]] += int(words[2])
    return found["Read"], found["Write"]


def _add_networks(
    containers: Mapping[str, Counters], pids: Mapping[str, str], networks: Mapping[str, list[str]]
) -> None:
    own = _traffic(networks.get("/proc/net/dev"))
    for name, pid in pids.items():
        found = _traffic(networks.get(f"/proc/{pid}/net/dev"))
        counters = containers.get(name)
        # With the device's own network its counters say nothing of the container.
        if counters is None or found is None or (own is not None and found[0] == own[0] and len(own[0]) > 1):
            continue
        counters.received, counters.sent = found[1], found[2]


def _traffic(lines: list[str] | None) -> tuple[frozenset[str], int, int] | None:
    """Interfaces, bytes received and sent over all but lo, from the lines of net/dev."""
    if lines is None:
        return None
    names, received, sent = set(), 0, 0
    for line in lines:
        name, _, rest = line.strip().partition(":")
        words = rest.split()
        if len(words) < 9 or not (words[0].isdecimal() and words[8].isdecimal()):  # noqa: PLR2004
            continue
        names.add(name)
        if name != "lo":
            received += int(words[0])
            sent += int(words[8])
    return frozenset(names), received, sent


def _uptime(line: str) -> float:
    try:
        return float(line.split()[1])
    except (ValueError, IndexError) as error:
        raise ParseError(f"Not an uptime: {line[:80]!r}") from error


def _cpus(text: str) -> int | None:
    """`0-3,6` are five."""
    count = 0
    for part in text.strip().split(","):
        match = _RANGE.match(part)
        if match is None:
            return None
        count += int(match[2] or match[1]) - int(match[1]) + 1
    return count or None


def _kilobytes(line: str) -> int | None:
    words = line.split()
    return int(words[1]) * 1024 if len(words) > 1 and words[1].isdecimal() else None
