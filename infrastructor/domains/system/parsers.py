"""Pure parsers of kernel files. Each raises `ParseError` with the offending line, and nothing else.

Seen: Linux 4.19 to 6.12, GNU coreutils 8.32 to 9.7 and BusyBox 1.35 to 1.37 `tail` and `stat`.
"""

import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

from infrastructor.domains.system.samples import (
    CpuTimes,
    DiskCounters,
    InterfaceCounters,
    MountEntry,
    Usage,
)
from infrastructor.errors import ParseError
from infrastructor.sanitize import clean

P = ParamSpec("P")
T = TypeVar("T")

_HEADER = re.compile(r"^==> (/[^\n]+) <==\n", re.MULTILINE)
_OCTAL = re.compile(r"\\([0-7]{3})")
_SECTOR = 512
# loop, ram, optical and floppy; partitions are told apart by name below; dm-* and md* repeat their members.
_NOT_A_DISK = re.compile(r"^(loop|ram|sr|fd|zram|nbd|dm-|md)\d*")
_PARTITION = re.compile(r"^((sd|vd|xvd|hd)[a-z]+\d+|(nvme\d+n\d+|mmcblk\d+)p\d+|mmcblk\d+(boot|rpmb)\d*)$")

# What holds a user's data and answers statfs from memory.
ORDINARY_TYPES = frozenset(
    {
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "zfs",
        "bcachefs",
        "f2fs",
        "vfat",
        "exfat",
        "ntfs",
        "ntfs3",
        "jfs",
        "reiserfs",
        "hfsplus",
        "ubifs",
        "jffs2",
    }
)
# Counted only at the root (a container's or a live system's) and where people fill it up.
ROOT_TYPES = frozenset({"overlay", "tmpfs", "squashfs"})
ROOT_PATHS = frozenset({"/", "/tmp", "/overlay"})  # noqa: S108
# May hang for ever when the other side is gone: asked apart, each under its own deadline. autofs is never asked:
# looking would mount it.
_REMOTE = re.compile(r"^(nfs4?|cifs|smb3|smbfs|9p|ceph|glusterfs|lustre|afs|ncpfs|virtiofs|fuse|fuse\..*|fuseblk)$")
_FUSE_PSEUDO = frozenset({"fuse.lxcfs", "fuse.gvfsd-fuse", "fuse.portal", "fuse.snapfuse", "fusectl"})


def total(parser: Callable[P, T]) -> Callable[P, T]:
    """Turn the slips of a parser over strange input into `ParseError`."""

    @wraps(parser)
    def parse(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return parser(*args, **kwargs)
        except (ValueError, IndexError, KeyError, OverflowError, StopIteration) as error:
            raise ParseError(f"{parser.__name__} did not understand: {clean(str(args[0]), 200)!r}") from error

    return parse


def split_files(text: str) -> dict[str, str]:
    """Output of `tail -n +1 FILE…` by file. A file that could not be read is absent."""
    pieces = _HEADER.split(text)
    # [before, name, content, name, content, …]; tail puts a blank line before each later header
    return {name: content.removesuffix("\n") for name, content in zip(pieces[1::2], pieces[2::2], strict=True)}


@total
def cpu_times(text: str) -> CpuTimes:
    """`/proc/stat`."""
    lines = text.splitlines()
    fields = next(line for line in lines if line.startswith("cpu ")).split()[1:]
    values = [int(value) for value in fields]
    values += [0] * (8 - len(values))
    threads = sum(1 for line in lines if re.match(r"cpu\d+ ", line))
    return CpuTimes(total=sum(values[:8]), idle=values[3], iowait=values[4], steal=values[7], threads=threads)


@total
def meminfo(text: str) -> Mapping[str, int]:
    """`/proc/meminfo` in bytes by its own names."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    if "MemTotal" not in found:
        raise ValueError
    return found


@total
def loadavg(text: str) -> tuple[float, float, float]:
    """`/proc/loadavg`."""
    one, five, fifteen = text.split()[:3]
    return float(one), float(five), float(fifteen)


@total
def uptime(text: str) -> float:
    """`/proc/uptime`, seconds since boot."""
    return float(text.split(maxsplit=1)[0])


@total
def net_dev(text: str) -> dict[str, InterfaceCounters]:
    """`/proc/net/dev`; loopback and container ends left out."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, rest = line.rpartition(":")  # an alias like eth0:1 has a colon of its own
        name = name.strip()
        numbers = [int(value) for value in rest.split()]
        if name == "lo" or name.startswith("veth"):
            continue
        found[name] = InterfaceCounters(
            received_bytes=numbers[0],
            sent_bytes=numbers[8],
            errors=numbers[2] + numbers[10],
            dropped=numbers[3] + numbers[11],
        )
    return found


@total
def diskstats(text: str) -> dict[str, DiskCounters]:
    """`/proc/diskstats`: whole disks that ever did something."""
    found = {}
    for line in text.splitlines():
        fields = line.split()
        name = fields[2]
        if _NOT_A_DISK.match(name) or _PARTITION.match(name):
            continue
        counters = DiskCounters(
            read_bytes=int(fields[5]) * _SECTOR, written_bytes=int(fields[9]) * _SECTOR, busy_ms=int(fields[12])
        )
        if counters.read_bytes or counters.written_bytes:
            found[name] = counters
    return found


@total
def mounts(text: str) -> tuple[MountEntry, ...]:
    """`/proc/mounts`: the mounts that hold data; of several of one source, the shortest path."""
    by_source: dict[tuple[str, str], MountEntry] = {}
    for line in text.splitlines():
        source, path, kind, options = (unescape(word) for word in line.split(" ")[:4])
        if not holds_data(kind, path):
            continue
        entry = MountEntry(path=path, source=source, type=kind, read_only="ro" in options.split(","))
        # tmpfs and overlay mounts share a source name without sharing anything else
        key = (source, path if kind in ROOT_TYPES else "")
        known = by_source.get(key)
        if known is None or len(path) < len(known.path):
            by_source[key] = entry
    return tuple(sorted(by_source.values(), key=lambda entry: entry.path))


def holds_data(kind: str, path: str) -> bool:
    """Whether a mount is worth showing."""
    if kind in ROOT_TYPES:
        return path in ROOT_PATHS
    return kind in ORDINARY_TYPES or may_hang(kind)


def may_hang(kind: str) -> bool:
    """Whether asking this file system can block on something that is gone."""
    return kind not in _FUSE_PSEUDO and _REMOTE.match(kind) is not None


def unescape(word: str) -> str:
    r"""A field of /proc/mounts, where blanks stand as octal: `\040` is a space."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), word)


@total
def statfs(text: str) -> dict[str, Usage]:
    """`stat -f -c '%S %b %f %a %c %d %n'` by path. Lines of paths that hold newlines are passed over."""
    found = {}
    for line in text.splitlines():
        fields = line.split(" ", 6)
        if len(fields) < 7 or not all(field.isdigit() for field in fields[:6]):  # noqa: PLR2004
            continue
        block, blocks, free, available, inodes, inodes_free = (int(field) for field in fields[:6])
        found[fields[6]] = Usage(
            total_bytes=blocks * block,
            used_bytes=(blocks - free) * block,
            available_bytes=available * block,
            inodes=inodes,
            inodes_free=inodes_free,
        )
    return found


@total
def temperatures(files: Mapping[str, str]) -> tuple[tuple[str, float], ...]:
    """Sensors under /sys/class/hwmon and /sys/class/thermal; millidegrees in, degrees Celsius out.

    A thermal zone that repeats an hwmon chip's reading stays: its name tells what it is.
    """
    found = []
    for path, content in files.items():
        if not re.search(r"/temp\d+_input$|/thermal_zone\d+/temp$", path):
            continue
        value = content.strip()
        if not re.fullmatch(r"-?\d+", value):
            continue  # a sensor that is asleep reads as an error
        folder, _, leaf = path.rpartition("/")
        if leaf == "temp":
            name = files.get(f"{folder}/type", folder.rpartition("/")[2])
        else:
            label = files.get(f"{folder}/{leaf.replace('_input', '_label')}", leaf.removesuffix("_input"))
            name = f"{files.get(f'{folder}/name', folder.rpartition('/')[2]).strip()} {label.strip()}"
        found.append((name.strip(), int(value) / 1000))
    return tuple(found)


@total
def os_release(text: str) -> dict[str, str]:
    """`/etc/os-release`; values may be quoted with either quote."""
    found = {}
    for line in text.splitlines():
        key, separator, value = line.strip().partition("=")
        if separator and not key.startswith("#"):
            found[key] = re.sub(r"\\(.)", r"\1", value.strip().strip("\"'"))
    return found


@total
def arc_size(text: str) -> int | None:
    """`/proc/spl/kstat/zfs/arcstats`: bytes the ZFS cache holds."""
    for line in text.splitlines():
        fields = line.split()
        if fields[:1] == ["size"]:
            return int(fields[2])
    return None
