"""What snapshots hold: by themselves, in ranges, by who made them, and where there are none."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from infrastructor.domains.zfs.datasets import SnapshotRow

# What well-known tools call their snapshots; the first group, where there is one, says how often.
_MAKERS = (
    ("sanoid", re.compile(r"autosnap_.*_(frequently|hourly|daily|weekly|monthly|yearly)")),
    ("syncoid", re.compile(r"syncoid_.*")),
    ("zrepl", re.compile(r"zrepl_.*")),
    ("zfs-auto-snapshot", re.compile(r"zfs-auto-snap_(frequent|hourly|daily|weekly|monthly)-.*")),
    ("znapzend", re.compile(r"\d{4}-\d{2}-\d{2}-\d{6}")),
    ("truenas", re.compile(r"auto-\d{4}-?\d{2}-?\d{2}.*")),
    ("proxmox replication", re.compile(r"__replicate_.*")),
    ("proxmox migration", re.compile(r"__migration__")),
    ("pve-zsync", re.compile(r"rep_.*_\d{4}-\d{2}-\d{2}_.*")),
    ("pyznap", re.compile(r"pyznap_.*_(frequent|hourly|daily|weekly|monthly|yearly)")),
    ("docker", re.compile(r"\d{9}")),
    ("infrastructor", re.compile(r"infrastructor[-_].*")),
)
REPLICATORS = frozenset({"syncoid", "zrepl", "proxmox replication", "pve-zsync", "infrastructor"})
"""Makers whose newest snapshot tells when a dataset was last sent somewhere."""
_GAP = 3.0  # times the usual distance
_FEWEST = 4  # snapshots, before a distance is usual


def maker_of(label: str) -> str:
    """`sanoid hourly`, `zrepl`, or `other`."""
    for name, pattern in _MAKERS:
        match = pattern.fullmatch(label)
        if match is not None:
            return f"{name} {match[1]}" if match.re.groups and match[1] else name
    return "other"


@dataclass(frozen=True)
class Run:
    """Snapshots of one dataset that follow each other, of which none is held or cloned."""

    first: SnapshotRow
    last: SnapshotRow
    count: int

    @property
    def span(self) -> str:
        """As `zfs destroy` takes it."""
        return self.first.name if self.count == 1 else f"{self.first.name}%{self.last.label}"


def runs(rows: Sequence[SnapshotRow]) -> tuple[list[Run], list[SnapshotRow]]:
    """The runs that could be destroyed, and the snapshots that hold or clone forbids to go. Rows: oldest first."""
    found: list[Run] = []
    kept: list[SnapshotRow] = []
    current: list[SnapshotRow] = []
    for row in rows:
        if row.holds > 0 or row.clones:
            kept.append(row)
            _close(current, found)
        else:
            current.append(row)
    _close(current, found)
    return found, kept


def _close(current: list[SnapshotRow], found: list[Run]) -> None:
    if current:
        found.append(Run(current[0], current[-1], len(current)))
        current.clear()


def usual_distance(rows: Sequence[SnapshotRow]) -> float | None:
    """Seconds from one to the next, as a rule; None for too few. Rows: oldest first."""
    distances = [after.created - before.created for before, after in pairwise(rows)]
    return median(distances) if len(distances) >= _FEWEST - 1 else None


def gaps(rows: Sequence[SnapshotRow]) -> list[tuple[SnapshotRow, SnapshotRow, int]]:
    """Neighbours much further apart than is usual, widest first, with the seconds between. Rows: oldest first."""
    usual = usual_distance(rows)
    if not usual:
        return []
    wide = [(a, b, b.created - a.created) for a, b in pairwise(rows) if b.created - a.created > _GAP * usual]
    return sorted(wide, key=lambda gap: -gap[2])


def by_maker(rows: Iterable[SnapshotRow]) -> dict[str, list[SnapshotRow]]:
    """Snapshots by who made them, in their order."""
    found: dict[str, list[SnapshotRow]] = {}
    for row in rows:
        found.setdefault(maker_of(row.label), []).append(row)
    return found
