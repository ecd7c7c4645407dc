"""CPU seconds and memory of a group of processes, told apart by cgroup where there are cgroups.

An account is named by a string, so that it can be handed to another process: `cgroup:/path`, `tree:PID` (a process
and its descendants, by /proc) or `own` (the calling process and the children it waited for).
"""

import os
import resource
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

# cgroup v1 with cpuacct, then v2 beside it, then v2 alone.
CGROUP_ROOTS = (Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
TICKS = os.sysconf("SC_CLK_TCK")


class Account(Protocol):
    def seconds(self) -> float:
        """CPU time used so far, user and system, of the living and the dead."""
        ...


@dataclass(frozen=True)
class Cgroup:
    path: Path

    def seconds(self) -> float:
        usage = self.path / "cpuacct.usage"
        if usage.exists():
            return int(usage.read_text()) / 1e9
        values = dict(line.split() for line in (self.path / "cpu.stat").read_text().splitlines())
        return int(values["usage_usec"]) / 1e6

    def processes(self) -> list[int]:
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]

    def join(self) -> None:
        """Move the calling process in; its children follow."""
        (self.path / "cgroup.procs").write_text("0")

    def add(self, pid: int) -> None:
        (self.path / "cgroup.procs").write_text(str(pid))


@dataclass(frozen=True)
class Tree:
    """Counts a dead process only if its parent waited for it, so orphans are lost: up to a quarter too low."""

    pid: int

    def seconds(self) -> float:
        return sum(_ticks(pid) for pid in descendants(self.pid)) / TICKS


@dataclass(frozen=True)
class Own:
    def seconds(self) -> float:
        used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(use.ru_utime + use.ru_stime for use in used)


def account(name: str) -> Account:
    """The account with this name."""
    kind, _, value = name.partition(":")
    match kind:
        case "cgroup":
            return Cgroup(Path(value))
        case "tree":
            return Tree(int(value))
        case "own":
            return Own()
    raise ValueError(f"no such kind of account: {name}")


def make_cgroup(name: str) -> Cgroup | None:
    """A new cgroup that counts CPU time; None where this system or user cannot have one."""
    for root in CGROUP_ROOTS:
        path = root / name
        try:
            path.mkdir(parents=True, exist_ok=True)
            group = Cgroup(path)
            group.seconds()
        except (OSError, KeyError):
            continue
        return group
    return None


def remove_cgroups(name: str) -> None:
    """Remove the empty cgroups below and with this name."""
    for root in CGROUP_ROOTS:
        top = root / name
        for _ in range(50):
            folders = [top, *(path for path in top.glob("*") if path.is_dir())] if top.is_dir() else []
            for path in reversed(folders):
                try:
                    path.rmdir()
                except OSError:
                    time.sleep(0.02)  # its last process is still being buried
            if not top.is_dir():
                break


def sweep_cgroups(prefix: str) -> None:
    """Remove what earlier processes that were killed have left: cgroups `prefix<pid>` of no living process."""
    for root in CGROUP_ROOTS:
        for path in root.glob(f"{prefix}*"):
            if not Path("/proc", path.name.removeprefix(prefix)).exists():
                remove_cgroups(path.name)


def descendants(pid: int) -> list[int]:
    """The process and everything below it that is alive."""
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        for task in Path(f"/proc/{found[-1]}/task").glob("*/children"):
            try:
                todo += map(int, task.read_text().split())
            except OSError:
                continue
    return found


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime


def pss_mb(pids: Iterable[int | str]) -> float:
    """Memory of these processes, shared pages divided among those who share them."""
    return sum(_kilobytes(pid, "smaps_rollup", "Pss:") for pid in pids) / 1024


def anonymous_mb(pid: int | str = "self") -> float:
    """Memory that is the process's own: without pages of files, which come and go with the page cache."""
    return _kilobytes(pid, "status", "RssAnon:") / 1024


def rss_mb(pid: int | str = "self") -> float:
    return _kilobytes(pid, "status", "VmRSS:") / 1024


def peak_rss_mb(pid: int | str = "self") -> float:
    return _kilobytes(pid, "status", "VmHWM:") / 1024


def _kilobytes(pid: int | str, name: str, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{name}").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0)
