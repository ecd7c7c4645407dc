"""What a vdev's name, path and notes say of it: the same for text and JSON."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infrastructor.domains.zfs.models import Vdev
from infrastructor.sanitize import clean

_GROUP = re.compile(r"(mirror|raidz[1-3]?|draid[1-3]?|replacing|spare|indirect|missing|hole)(?::\S+)?-[0-9]+")
_DISTRIBUTED_SPARE = re.compile(r"draid[1-3]-[0-9]+-[0-9]+")

ROLES = {"dedup": "dedup", "special": "special", "logs": "log", "cache": "cache", "spares": "spare"}
"""Headings of `zpool status`, in its order, and what the vdevs below them are for."""

PROBLEMS = {
    "OPEN_FAILED": "cannot open",
    "BAD_GUID_SUM": "missing device",
    "NO_REPLICAS": "insufficient replicas",
    "VERSION_NEWER": "newer version",
    "UNSUP_FEAT": "unsupported feature(s)",
    "ASHIFT_TOO_BIG": "unsupported minimum blocksize",
    "SPARED": "currently in use",
    "ERR_EXCEEDED": "too many errors",
    "IO_FAILURE": "experienced I/O failures",
    "BAD_LOG": "bad intent log",
    "EXTERNAL": "external device fault",
    "SPLIT_POOL": "split into new pool",
    "ACTIVE": "currently in use",
    "CHILDREN_OFFLINE": "all children offline",
    "BAD_LABEL": "invalid label",
}
"""The words of the text for what JSON has as a code; all others are `CORRUPTED`."""
CORRUPTED = "corrupted data"
_PRESENT = frozenset({"ONLINE", "DEGRADED", "AVAIL", "INUSE"})
_PARITY = {"draid": 1, "draid1": 1, "draid2": 2, "draid3": 3}


def state_of(state: str | None, aux: str | None) -> str | None:
    """The text's word for a state of JSON, which has CANT_OPEN and CLOSED for what the text calls otherwise."""
    if state == "CANT_OPEN":
        return "FAULTED" if aux in {"CORRUPT_DATA", "BAD_LOG"} else "SPLIT" if aux == "SPLIT_POOL" else "UNAVAIL"
    return "OFFLINE" if state == "CLOSED" else state


def kind_of(name: str, was: str | None, depth: int) -> str:
    """mirror-0 → mirror, raidz2-1 → raidz2, draid2:4d:11c:1s-0 → draid2, /dev/sda → disk, /root/d1 → file."""
    if depth == 0:
        return "pool"
    if match := _GROUP.fullmatch(name):
        return match[1]
    if _DISTRIBUTED_SPARE.fullmatch(name):
        return "distributed_spare"
    path = was or name
    return "file" if path.startswith("/") and not path.startswith("/dev/") else "disk"


@dataclass(eq=False)
class Row:
    """A vdev as it was read, and the one above it."""

    name: str
    depth: int
    role: str
    state: str | None
    parent: "Row | None"
    values: Mapping[str, object]


def tree(rows: Sequence[Row]) -> list[Vdev]:
    """The rows in their order, which is that of the tree. Slow I/Os are counted of disks, not of groups."""
    places = {id(row): index for index, row in enumerate(rows)}
    groups = {id(row.parent) for row in rows}
    found = []
    for index, row in enumerate(rows):
        values, state = dict(row.values), row.state or _derived(row, rows)
        if state not in _PRESENT:  # JSON then says that it cannot be trimmed, the text when it was
            values = {name: value for name, value in values.items() if name not in {"trim", "trimmed_at"}}
        if id(row) in groups:
            values.pop("slow_ios", None)
        was = values.get("was")
        fixed = {
            "index": index,
            "parent": None if row.parent is None else places[id(row.parent)],
            "depth": row.depth,
            "name": clean(row.name),
            "kind": kind_of(row.name, was if isinstance(was, str) else None, row.depth),
            "role": row.role,
            "state": state and clean(state),
        }
        found.append(Vdev.model_validate(fixed | values))
    return found


def _derived(row: Row, rows: Sequence[Row]) -> str | None:
    """The state of a draid, which JSON leaves out (openzfs/zfs#18431): as ZFS makes it of those below."""
    parity = _PARITY.get(kind_of(row.name, None, row.depth))
    states = [one.state for one in rows if one.parent is row]
    if parity is None or not states or None in states:
        return None
    lost = sum(1 for state in states if state not in _PRESENT)
    if lost > parity:
        return "UNAVAIL"
    return "DEGRADED" if lost or "DEGRADED" in states else "ONLINE"
