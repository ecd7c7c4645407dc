"""What the ZFS operations may run on a device to change something. Detached: each at most once.

Values that are options stand in one word with them (`-oreadonly=on`), names after `--`.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from infrastructor.command import Command
from infrastructor.ports.ssh import Capabilities, CommandOutput, Lane


def needs_sudo(capabilities: Capabilities) -> bool:
    """Whether a change goes through sudo. A login that cannot become root may have been given it by zfs allow."""
    return not capabilities.is_root and capabilities.sudo in {"nopasswd", "limited"}


@dataclass(frozen=True)
class ZfsChange(Command[None]):
    """A change by zfs or zpool: whatever it prints, the state is read back afterwards."""

    needs = "zfs"
    lane = Lane.CHANGE
    timeout = timedelta(seconds=600)
    may_sudo = True

    def variant(self, capabilities: Capabilities) -> "Self":
        return self.as_root() if needs_sudo(capabilities) else self

    def parse(self, output: CommandOutput) -> None:
        return None


@dataclass(frozen=True)
class TakeSnapshots(ZfsChange):
    """Take a ZFS snapshot of a dataset, and with -r of all below it in the same instant."""

    template = "zfs snapshot {recursive} -- {snapshot}"
    flags = {"recursive": "-r"}  # noqa: RUF012
    snapshot: str
    recursive: bool = False


@dataclass(frozen=True)
class HoldSnapshots(ZfsChange):
    """Keep a ZFS snapshot, and with -r all of the same name below, from being destroyed until it is released."""

    template = "zfs hold {recursive} -- {tag} {snapshot}"
    flags = {"recursive": "-r"}  # noqa: RUF012
    tag: str
    snapshot: str
    recursive: bool = False


@dataclass(frozen=True)
class CloneSnapshot(ZfsChange):
    """Make a writable dataset from a ZFS snapshot."""

    template = "zfs clone {parents} -omountpoint={mountpoint} -oreadonly={readonly} -- {snapshot} {target}"
    flags = {"parents": "-p"}  # noqa: RUF012
    snapshot: str
    target: str
    parents: bool = False
    mountpoint: str | None = None
    readonly: str | None = None


@dataclass(frozen=True)
class DestroySnapshots(ZfsChange):
    """Destroy ZFS snapshots; with -r those of the same names below, with -R their clones too."""

    template = "zfs destroy {descendants} {clones} -- {snapshots}"
    flags = {"descendants": "-r", "clones": "-R"}  # noqa: RUF012
    shapes = {"snapshots": "[^@[:space:]]+@[^[:space:]]+"}  # noqa: RUF012 (never a dataset, which zfs would destroy too)
    snapshots: str
    descendants: bool = False
    clones: bool = False


@dataclass(frozen=True)
class RollBack(ZfsChange):
    """Put a dataset back to a ZFS snapshot; with -r destroy the newer ones, with -R their clones too."""

    template = "zfs rollback {newer} {clones} -- {snapshot}"
    flags = {"newer": "-r", "clones": "-R"}  # noqa: RUF012
    snapshot: str
    newer: bool = False
    clones: bool = False


@dataclass(frozen=True)
class AbortReceive(ZfsChange):
    """Throw away what an interrupted receive has brought."""

    template = "zfs receive -A -- {dataset}"
    dataset: str


@dataclass(frozen=True)
class Scrub(ZfsChange):
    """Start or go on with a scrub of a pool; with -p pause it, with -s end it."""

    template = "zpool scrub {pause} {stop} -- {pool}"
    flags = {"pause": "-p", "stop": "-s"}  # noqa: RUF012
    needs = "zpool"
    timeout = timedelta(seconds=120)
    pool: str
    pause: bool = False
    stop: bool = False
