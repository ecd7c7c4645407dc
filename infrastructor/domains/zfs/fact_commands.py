"""What health and recommendations may run besides what the lists run: settings, features, disks, counters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from infrastructor.command import Command
from infrastructor.domains.zfs.pools import number
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean

MAX_AGE = "infrastructor:replication-max-age"
"""User property: how old the newest replicated snapshot of a dataset may be, e.g. 26h."""
SETTINGS = (
    "type", "recordsize", "volblocksize", "compression", "atime", "relatime", "xattr", "acltype", "sync", "logbias",
    "dedup", "referenced", "logicalreferenced", "receive_resume_token", MAX_AGE,
)  # fmt: skip
NAMES = ",".join(SETTINGS)
_COLUMNS = 4
_DISK_COLUMNS = 6
_PER_SECOND, _DISK_WAIT, _WAIT_COLUMNS = 3, 9, 11  # of zpool iostat -l
_KSTAT = re.compile(r"/proc/spl/kstat/zfs/[^\n]*/objset-0x([0-9a-f]{1,16}):(\w+)\s+\d+\s+(.*)")
_ZIL = re.compile(r"/proc/spl/kstat/zfs/zil:(\w+)\s+\d+\s+(\d{1,20})")


@dataclass(frozen=True)
class Setting:
    """A property of a dataset: its value, and the word before `from` in its source."""

    value: str
    source: str


Settings = Mapping[str, Mapping[str, Setting]]


@dataclass(frozen=True)
class GetSettings(Command[Settings]):
    """The settings of all file systems and volumes that decide on speed and safety, by dataset and name."""

    template = f"zfs get -H -p -t filesystem,volume -o name,property,value,source {NAMES}"
    needs = "zfs"
    lane = Lane.SLOW
    timeout = timedelta(seconds=110)
    max_output = 64 << 20
    may_sudo = True

    def parse(self, output: CommandOutput) -> Settings:
        found: dict[str, dict[str, Setting]] = {}
        for line in output.text.split("\n"):
            row = line.split("\t")
            if len(row) != _COLUMNS:
                if line and not found:
                    raise ParseError(f"zfs get printed something that is no property: {clean(line, 200)!r}")
                continue  # a user property with a line break
            name, key, value, source = row
            if key in SETTINGS:
                found.setdefault(name, {})[key] = Setting(value, source.partition(" from ")[0])
        return found


@dataclass(frozen=True)
class GetPoolProperties(Command[Mapping[str, Mapping[str, str]]]):
    """All properties of all pools with their features, by pool and name."""

    template = "zpool get -H -p -o name,property,value all"
    needs = "zpool"
    max_output = 8 << 20
    may_sudo = True

    def parse(self, output: CommandOutput) -> Mapping[str, Mapping[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for line in output.text.split("\n"):
            name, _, rest = line.partition("\t")
            key, tab, value = rest.partition("\t")
            if tab:
                found.setdefault(name, {})[key] = value
            elif line and not found:
                raise ParseError(f"zpool get printed something that is no property: {clean(line, 200)!r}")
        return found


@dataclass(frozen=True)
class DiskFacts:
    """What the kernel knows of the disk a vdev is on; None is unknown."""

    disk: str | None = None
    """Kernel name of the whole disk, e.g. sda."""
    rotational: bool | None = None
    discards: bool | None = None
    physical_block_bytes: int | None = None


@dataclass(frozen=True)
class FindDisks(Command[Mapping[str, DiskFacts]]):
    """The disks that the devices of pools are on, whatever name they were given."""

    # Partition -> its disk; dm-crypt and other mappings -> what they are built on, where that is one disk.
    script = r"""
for path do
  real=$(readlink -f -- "$path" 2>/dev/null) || real=
  name=${real##*/}
  [ -e "/sys/class/block/$name" ] || name=
  tries=0
  while [ -n "$name" ] && [ $tries -lt 5 ]; do
    tries=$((tries + 1))
    if [ -e "/sys/class/block/$name/partition" ]; then
      up=$(readlink -f "/sys/class/block/$name/..") && name=${up##*/}
      continue
    fi
    below=
    for s in /sys/class/block/"$name"/slaves/*; do [ -e "$s" ] && below="$below ${s##*/}"; done
    set -- $below
    if [ $# = 1 ]; then name=$1; else break; fi
  done
  q=/sys/class/block/$name/queue
  value() { v=; [ -n "$name" ] && { read -r v <"$1"; } 2>/dev/null; printf '%s' "$v"; }
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$path" "$real" "$name" "$(value "$q/rotational")" \
    "$(value "$q/discard_max_bytes")" "$(value "$q/physical_block_size")"
done
:
"""
    template = "{paths}"
    lane = Lane.SLOW
    paths: tuple[str, ...] = ()

    def parse(self, output: CommandOutput) -> Mapping[str, DiskFacts]:
        found: dict[str, DiskFacts] = {}
        for line in output.text.split("\n"):
            row = line.split("\t")
            if len(row) != _DISK_COLUMNS:
                if line:
                    raise ParseError(f"No facts of a disk: {clean(line, 200)!r}")
                continue
            rotational, discard = number(row[3]), number(row[4])
            found[row[0]] = DiskFacts(
                disk=clean(row[2], 80) or None,
                rotational=None if rotational is None else bool(rotational),
                discards=None if discard is None else discard > 0,
                physical_block_bytes=number(row[5]),
            )
        return found


@dataclass(frozen=True)
class Wait:
    """How long a vdev took for an I/O on average since its pool was imported.

    None: it had less than one a second, of which a disk that had to start turning, or a new one, makes any average.
    """

    read_ms: float | None = None
    write_ms: float | None = None


@dataclass(frozen=True)
class ReadWaits(Command[Mapping[str, Wait]]):
    """How long each vdev takes for its reads and writes, on average since its pool was imported."""

    template = "zpool iostat -H -p -l -v -P"
    needs = "zpool"
    lane = Lane.SLOW
    max_output = 8 << 20
    may_sudo = True

    def parse(self, output: CommandOutput) -> Mapping[str, Wait]:
        found: dict[str, Wait] = {}
        for line in output.text.split("\n"):
            row = line.split("\t")
            if not line or len(row) == 1:
                continue  # the headings of logs and caches
            if len(row) < _WAIT_COLUMNS:
                raise ParseError(f"zpool iostat printed too few columns: {clean(line, 200)!r}")
            many = row[_PER_SECOND : _PER_SECOND + 2]
            read, write = (
                _milliseconds(number(text)) if number(often) else None
                for often, text in zip(many, row[_DISK_WAIT : _DISK_WAIT + 2], strict=True)
            )
            found[row[0]] = Wait(read, write)
        return found


def _milliseconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else round(nanoseconds / 1e6, 3)


@dataclass(frozen=True)
class DatasetIo:
    """Calls and bytes of programs to a dataset since it was mounted."""

    reads: int = 0
    read_bytes: int = 0
    writes: int = 0
    written_bytes: int = 0


@dataclass(frozen=True)
class IoCounters:
    """What the kernel module counted: by dataset, of the intent log, and for how long."""

    datasets: Mapping[str, DatasetIo]
    intent_log: Mapping[str, int]
    uptime_s: float


@dataclass(frozen=True)
class ReadCounters(Command[IoCounters]):
    """The module's counters of I/O by dataset and of the intent log."""

    script = r"""
read -r up rest </proc/uptime && printf 'uptime %s\n' "$up"
grep -H -E '^(dataset_name|reads|nread|writes|nwritten)[[:space:]]' /proc/spl/kstat/zfs/*/objset-* /dev/null 2>/dev/null
grep -H -E '^zil_' /proc/spl/kstat/zfs/zil /dev/null 2>/dev/null
:
"""
    lane = Lane.SLOW
    max_output = 32 << 20

    def parse(self, output: CommandOutput) -> IoCounters:
        sets: dict[str, dict[str, str]] = {}
        log: dict[str, int] = {}
        uptime = 0.0
        for line in output.text.split("\n"):
            if match := _KSTAT.fullmatch(line):
                place = line.partition(":")[0]
                sets.setdefault(place, {})[match[2]] = match[3]
            elif match := _ZIL.fullmatch(line):
                log[match[1]] = int(match[2])
            elif line.startswith("uptime "):
                uptime = _uptime(line)
        if not uptime:
            raise ParseError(f"No counters of ZFS in: {clean(output.text, 200)!r}")
        datasets = {
            one["dataset_name"]: DatasetIo(
                reads=number(one.get("reads")) or 0,
                read_bytes=number(one.get("nread")) or 0,
                writes=number(one.get("writes")) or 0,
                written_bytes=number(one.get("nwritten")) or 0,
            )
            for one in sets.values()
            if "dataset_name" in one
        }
        return IoCounters(datasets, log, uptime)


def _uptime(line: str) -> float:
    try:
        return float(line.split(" ", 1)[1])
    except ValueError as error:
        raise ParseError(f"Not an uptime: {clean(line, 80)!r}") from error
