"""What a destruction would take: snapshots, the clones made from them, who holds them, and the space it frees.

`zfs destroy -n` tells the snapshots and the space, but names no clone that -R would destroy, and no hold. Those are
read from the snapshots themselves. Seen with OpenZFS 2.1.11, 2.3.2 and 2.4.4.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from infrastructor.command import Command
from infrastructor.domains.zfs.fields import number, when
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput, Lane
from infrastructor.sanitize import clean

UNSET = "-"
COLUMNS = "type,guid,createtxg,creation,used,referenced,userrefs,clones,infrastructor:protected,name"
_FIELDS = 10

ROWS = r"""
zfs list -H -p $types -o $columns -- "$@" | while IFS= read -r l; do printf 'row\t%s\n' "$l"; done
"""


@dataclass(frozen=True, slots=True)
class Thing:
    """A snapshot, or a dataset that goes with it."""

    name: str
    kind: str
    guid: str
    created_at: datetime | None
    used_bytes: int
    clones: tuple[str, ...]
    holds: int
    protected: str | None

    @property
    def is_snapshot(self) -> bool:
        return self.kind == "snapshot"


@dataclass(frozen=True, slots=True)
class Losses:
    """Everything that would go. `reclaim_bytes` is what the snapshots alone free; None: it could not be told."""

    things: tuple[Thing, ...] = ()
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reclaim_bytes: int | None = None

    @property
    def names(self) -> set[str]:
        return {thing.name for thing in self.things}

    @property
    def clones(self) -> list[str]:
        """Clones of what would go."""
        return sorted({clone for thing in self.things for clone in thing.clones})

    def and_with(self, more: "Losses") -> "Losses":
        known = self.names
        return Losses(
            things=self.things + tuple(thing for thing in more.things if thing.name not in known),
            tags={**self.tags, **more.tags},
            reclaim_bytes=self.reclaim_bytes,
        )

    def fingerprint(self, *more: str) -> str:
        """Changes when another thing would go, or the same ones are held, cloned or protected otherwise."""
        lines = sorted(f"{t.guid} {t.name} {t.holds} {t.clones} {t.protected}" for t in self.things)
        return hashlib.sha256("\n".join([*more, *lines]).encode()).hexdigest()


@dataclass(frozen=True)
class LookAtDestruction(Command[Losses]):
    """What destroying these snapshots would take, as `zfs destroy -n` says it, with their GUIDs, clones and holds."""

    script = rf"""
spec=$1 deep=${{2-}} columns={COLUMNS} types='-t snapshot'
plan=$(zfs destroy -n -v -p $deep -- "$spec" 2>/dev/null)
printf '%s\n' "$plan"
set --
tab=$(printf '\t')
while IFS=$tab read -r what name; do
  if [ "$what" = destroy ]; then set -- "$@" "$name"; fi
done <<END
$plan
END
if [ $# -gt 0 ]; then
{ROWS}
zfs holds -H -- "$@" 2>/dev/null | while IFS= read -r l; do printf 'hold\t%s\n' "$l"; done
else
zfs list -H -o name -- "${{spec%%@*}}" >/dev/null
fi
"""
    template = "{spec} {recursion}"
    needs = "zfs"
    lane = Lane.SLOW
    max_output = 16 << 20
    may_sudo = True
    spec: str
    recursion: str | None = None

    def parse(self, output: CommandOutput) -> Losses:
        return parse(output.text)


@dataclass(frozen=True)
class LookAtTrees(Command[Losses]):
    """Datasets with all that is below them, as they would go with `zfs destroy -R`."""

    script = rf"""
columns={COLUMNS} types='-r -t filesystem,volume,snapshot'
{ROWS}
tab=$(printf '\t')
zfs list -H -p -r -t snapshot -o userrefs,name -- "$@" | while IFS=$tab read -r refs name; do
  [ "$refs" = 0 ] || zfs holds -H -- "$name" | while IFS= read -r l; do printf 'hold\t%s\n' "$l"; done
done
"""
    template = "{datasets}"
    needs = "zfs"
    lane = Lane.SLOW
    max_output = 16 << 20
    may_sudo = True
    datasets: tuple[str, ...]

    def parse(self, output: CommandOutput) -> Losses:
        return parse(output.text)


def parse(text: str) -> Losses:
    """The scripts' lines. Raises `ParseError` with the line it does not know."""
    things: list[Thing] = []
    tags: dict[str, tuple[str, ...]] = {}
    reclaim: int | None = None
    for line in text.splitlines():
        kind, *values = line.split("\t")
        match kind, values:
            case "row", [*_] if len(values) == _FIELDS:
                things.append(_thing(values, line))
            case "hold", [name, tag, _]:
                tags[name] = (*tags.get(name, ()), tag)
            case "reclaim", [size]:
                reclaim = number(size)
            case "destroy", [_]:
                pass  # its row says more
            case "", []:
                pass
            case _:
                raise ParseError(f"Not known of a destruction: {clean(line, 120)!r}")
    return Losses(tuple(things), tags, reclaim)


def _thing(values: list[str], line: str) -> Thing:
    kind, guid, createtxg, creation, used, _, holds, clones, protected, name = values
    if number(guid) is None or number(createtxg) is None:
        raise ParseError(f"No ZFS dataset or snapshot: {clean(line, 120)!r}")
    return Thing(
        name=name,
        kind=kind,
        guid=guid,
        created_at=when(creation),
        used_bytes=number(used) or 0,
        clones=() if clones in {UNSET, ""} else tuple(clones.split(",")),
        holds=number(holds) or 0,
        protected=None if protected == UNSET else protected,
    )


def bytes_of(things: Iterable[Thing]) -> int:
    return sum(thing.used_bytes for thing in things)
