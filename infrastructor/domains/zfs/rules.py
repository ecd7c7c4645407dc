"""What all rules share: how a finding is made, how much redundancy a vdev has left, and words for figures."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from infrastructor.domains.zfs.health_models import Finding, Grade
from infrastructor.domains.zfs.models import Vdev

GIB = 1 << 30
LOST = frozenset({"OFFLINE", "FAULTED", "UNAVAIL", "REMOVED"})
_TOLERATES = {"raidz": 1, "raidz1": 1, "raidz2": 2, "raidz3": 3, "draid": 1, "draid1": 1, "draid2": 2, "draid3": 3}
_UNITS = ((1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_SPANS = ((86400, "d"), (3600, "h"), (60, "min"))


def line(*words: str) -> str:
    """A command line to copy: each word quoted where it must be."""
    return " ".join(shlex.quote(word) for word in words)


def found(
    severity: Grade,
    code: str,
    pool: str | None,
    evidence: str,
    action: str,
    *,
    subject: str | None = None,
    command: str | None = None,
) -> Finding:
    return Finding(
        severity=severity, code=code, pool=pool, subject=subject, evidence=evidence, action=action, command=command
    )


def size(value: float) -> str:
    """1.5 GiB."""
    for unit, name in _UNITS:
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.0f} B"


def span(duration: timedelta | float) -> str:
    """40 d, 3 h, 5 min."""
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    for unit, name in _SPANS:
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.0f} s"


def day(at: datetime | None) -> str:
    """2026-11-20."""
    return "at an unknown time" if at is None else f"{at:%F}"


@dataclass(frozen=True)
class Group:
    """A vdev that shares data among others, and those: mirror-0 with its sides, a disk with itself."""

    top: Vdev
    members: tuple[Vdev, ...]
    unfinished: int = 0
    """Members whose old disk is lost, and whose new one has not got everything yet."""

    @property
    def tolerates(self) -> int:
        """How many of its members may be lost in all."""
        return len(self.members) - 1 if self.top.kind == "mirror" else _TOLERATES.get(self.top.kind, 0)

    @property
    def left(self) -> int:
        """How many more may be lost now; below zero it has lost too many."""
        return self.tolerates - self.unfinished - sum(1 for member in self.members if member.state in LOST)

    @property
    def redundant(self) -> bool:
        return self.tolerates > 0


def groups(vdevs: Sequence[Vdev]) -> Iterator[Group]:
    """The vdevs right below the pool and below each class, but for cache disks and spares."""
    for vdev in vdevs:
        top = vdev.depth == 1 and vdev.role not in {"cache", "spare"}
        if top:
            members = tuple(one for one in vdevs if one.parent == vdev.index)
            yield Group(vdev, members or (vdev,), sum(_unfinished(member, vdevs) for member in members))


def _unfinished(member: Vdev, vdevs: Sequence[Vdev]) -> bool:
    """A replacement is over with its vdev; a spare stays, and tells only while it is written."""
    *old, new = [one for one in vdevs if one.parent == member.index] or [member]
    writing = member.kind == "replacing" or (
        member.kind == "spare" and not {"resilvering", "awaiting resilver"}.isdisjoint(new.doing)
    )
    return writing and member.state not in LOST and bool(old) and all(one.state in LOST for one in old)


def below(vdevs: Sequence[Vdev], top: Vdev) -> list[Vdev]:
    """A vdev and all below it, at any depth."""
    inside = {top.index}
    rows = [top]
    for vdev in vdevs:
        if vdev.parent in inside:
            inside.add(vdev.index)
            rows.append(vdev)
    return rows


def counted(vdev: Vdev) -> int:
    """Its read, write and checksum errors."""
    return (vdev.read_errors or 0) + (vdev.write_errors or 0) + (vdev.checksum_errors or 0)


def counts_of(vdev: Vdev) -> str:
    """`0 read, 0 write, 569 checksum errors`."""
    return f"{vdev.read_errors or 0} read, {vdev.write_errors or 0} write, {vdev.checksum_errors or 0} checksum errors"
