"""One dataset as an end of a transfer: what it is, which snapshots and bookmarks it has, what its pool can take.

Seen with OpenZFS 2.1.11, 2.3.2 and 2.4.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from infrastructor.command import Command
from infrastructor.domains.zfs.fields import number, when
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean

UNSET = "-"


@dataclass(frozen=True, slots=True)
class Point:
    """A snapshot or a bookmark: something a stream may start from. `guid` is the same on every machine."""

    name: str
    kind: str
    guid: str
    createtxg: int
    created_at: datetime | None = None
    used_bytes: int | None = None
    holds: int = 0

    @property
    def short(self) -> str:
        """`@monday` or `#monday`."""
        at = self.name.find("#" if self.kind == "bookmark" else "@")
        return self.name[at:]


@dataclass(frozen=True, slots=True)
class Replica:
    """A dataset and its points, oldest first. `properties` is empty when there is no such dataset."""

    name: str
    properties: Mapping[str, str] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    has_parent: bool = False
    features: Mapping[str, str] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        return bool(self.properties)

    @property
    def guid(self) -> str | None:
        return self.get("guid")

    @property
    def token(self) -> str | None:
        """What an interrupted receive left, with which it goes on."""
        return self.get("receive_resume_token")

    @property
    def encrypted(self) -> bool:
        return (self.get("encryption") or "off") != "off"

    @property
    def written_bytes(self) -> int:
        """Changed since the newest snapshot."""
        return number(self.get("written") or "") or 0

    @property
    def snapshots(self) -> tuple[Point, ...]:
        return tuple(point for point in self.points if point.kind == "snapshot")

    def get(self, name: str) -> str | None:
        value = self.properties.get(name)
        return None if value in {None, "", UNSET, "none"} else value

    def can(self, feature: str) -> bool:
        """Whether the pool may hold data that needs this feature."""
        return self.features.get(feature) in {"enabled", "active"}


@dataclass(frozen=True)
class ReadReplica(Command[Replica]):
    """A dataset as an end of a transfer: properties, snapshots and bookmarks with their GUIDs, features of its pool."""

    script = r"""
zfs get -H -p -o property,value \
  type,guid,creation,encryption,keystatus,encryptionroot,receive_resume_token,written,used,referenced,available,mounted,\
mountpoint,readonly,infrastructor:protected -- "$1" 2>/dev/null |
  while IFS= read -r l; do printf 'property\t%s\n' "$l"; done
zfs list -H -p -d 1 -t snapshot,bookmark -s createtxg -o type,guid,createtxg,creation,used,userrefs,name -- "$1" \
  2>/dev/null | while IFS= read -r l; do printf 'point\t%s\n' "$l"; done
case $1 in */*) zfs list -H -o name -- "${1%/*}" >/dev/null 2>&1 && echo parent;; esac
zpool get -H -p -o property,value \
  feature@large_blocks,feature@embedded_data,feature@lz4_compress,feature@zstd_compress,feature@encryption,\
feature@bookmark_v2 -- "${1%%/*}" 2>/dev/null | while IFS= read -r l; do printf 'feature\t%s\n' "$l"; done
zpool list -H -o name -- "${1%%/*}" >/dev/null
"""
    template = "{dataset}"
    needs = "zfs"
    lane = Lane.SLOW
    timeout = timedelta(seconds=110)  # many snapshots, and a pool that is busy, take their time
    max_output = 64 << 20
    may_sudo = True
    dataset: str

    def parse(self, output: CommandOutput) -> Replica:
        return parse(self.dataset, output.text)


def parse(name: str, text: str) -> Replica:
    """The script's lines as a replica. Raises `ParseError` with the line it does not know."""
    properties: dict[str, str] = {}
    features: dict[str, str] = {}
    points: list[Point] = []
    parent = False
    for line in text.splitlines():
        kind, *values = line.split("\t")
        match kind, values:
            case "property", [key, value]:
                properties[key] = value
            case "feature", [key, value]:
                features[key.removeprefix("feature@")] = value
            case "point", [*_] if len(values) == 7:  # noqa: PLR2004
                points.append(_point(values, line))
            case "parent", []:
                parent = True
            case _:
                raise ParseError(f"Not known of a ZFS dataset: {clean(line, 120)!r}")
    return Replica(name, properties, tuple(sorted(points, key=lambda point: point.createtxg)), parent, features)


def _point(values: list[str], line: str) -> Point:
    kind, guid, createtxg, creation, used, holds, name = values
    born = number(createtxg)
    if kind not in {"snapshot", "bookmark"} or number(guid) is None or born is None:
        raise ParseError(f"No snapshot or bookmark: {clean(line, 120)!r}")
    return Point(
        name=name,
        kind=kind,
        guid=guid,
        createtxg=born,
        created_at=when(creation),
        used_bytes=number(used),
        holds=number(holds) or 0,
    )
