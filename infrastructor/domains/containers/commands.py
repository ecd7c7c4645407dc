"""What the container operations may run on a device to look: where the engine's API is out of reach."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import ClassVar, TypeVar

from infrastructor.command import Command
from infrastructor.domains.containers import rows
from infrastructor.domains.containers.cgroups import Cgroups, from_script
from infrastructor.domains.containers.engine_stats import EngineUse, from_stats
from infrastructor.domains.containers.inspection import Inspection, from_inspect
from infrastructor.domains.containers.log_lines import Batch, from_program
from infrastructor.domains.containers.rows import Row
from infrastructor.ports.ssh import Capabilities, CommandOutput, Lane

T_co = TypeVar("T_co", covariant=True)


def engine_of(capabilities: Capabilities) -> str:
    """docker or podman: the one whose socket was found, else the one whose program was."""
    if capabilities.docker_socket is not None:
        return "podman" if "podman" in capabilities.docker_socket else "docker"
    return "podman" if "podman" in capabilities.tools and "docker" not in capabilities.tools else "docker"


def needs_sudo(capabilities: Capabilities) -> bool:
    """Whether the engine's program must run under sudo: the login may not use the socket, but may become root."""
    return capabilities.docker_socket is None and not capabilities.is_root and capabilities.sudo == "nopasswd"


@dataclass(frozen=True)
class EngineScript(Command[T_co]):
    """A script that runs the engine's program, whichever there is."""

    may_sudo = True

    def variant(self, capabilities: Capabilities) -> Command[T_co]:
        has_program = bool(capabilities.tools & {"docker", "podman"})
        return self.as_root() if has_program and needs_sudo(capabilities) else self


@dataclass(frozen=True)
class EngineCommand(Command[T_co]):
    """A line of the docker program; `podman` is the same line for the other engine."""

    needs: ClassVar[str | None] = "docker"
    podman: ClassVar[type[Command[object]] | None] = None
    may_sudo = True

    def variant(self, capabilities: Capabilities) -> Command[T_co]:
        chosen: Command[T_co] = self
        if self.podman is not None and engine_of(capabilities) == "podman":
            values = {field.name: getattr(self, field.name) for field in fields(self)}
            chosen = self.podman(**values)  # type: ignore[assignment]
        return chosen.as_root() if needs_sudo(capabilities) else chosen


@dataclass(frozen=True)
class _List(Command[tuple[Row, ...]]):
    lane = Lane.SLOW
    max_output = 16 << 20
    may_sudo = True


@dataclass(frozen=True)
class PodmanListContainers(_List):
    """All containers, as Podman's one JSON array."""

    template = "podman ps --all --format json"
    needs = "podman"

    def parse(self, output: CommandOutput) -> tuple[Row, ...]:
        return rows.from_api(output.stdout)


@dataclass(frozen=True)
class ListContainers(EngineCommand[tuple[Row, ...]], _List):
    """All containers, one JSON object a line."""

    template = "docker ps --all --no-trunc --format '{{json .}}'"
    podman = PodmanListContainers

    def parse(self, output: CommandOutput) -> tuple[Row, ...]:
        return rows.from_lines(output.stdout)


@dataclass(frozen=True)
class _Inspect(Command[tuple[Inspection, ...]]):
    lane = Lane.SLOW
    max_output = 64 << 20
    may_sudo = True
    containers: tuple[str, ...]

    def parse(self, output: CommandOutput) -> tuple[Inspection, ...]:
        return from_inspect(output.stdout)


@dataclass(frozen=True)
class PodmanInspectContainers(_Inspect):
    """Everything Podman knows of some containers."""

    template = "podman container inspect -- {containers}"
    needs = "podman"


@dataclass(frozen=True)
class InspectContainers(EngineCommand[tuple[Inspection, ...]], _Inspect):
    """Everything Docker knows of some containers."""

    template = "docker container inspect -- {containers}"
    podman = PodmanInspectContainers


@dataclass(frozen=True)
class ReadCgroups(Command[Cgroups]):
    """The kernel's counters of every container in one reading: cgroup v1 and v2, any layout, and their networks."""

    # A container's group ends with its id of 64 characters: docker/<id>, docker-<id>.scope, libpod-<id>.scope.
    script = r"""
cd /sys/fs/cgroup 2>/dev/null || exit 0
q='????????'; q=$q$q$q$q$q$q$q$q
v=memory; [ -e cgroup.controllers ] && v=.
dirs=$(find $v -maxdepth 9 -type d \( -name "$q" -o -name "*[!0-9a-f]$q" -o -name "*[!0-9a-f]$q.scope" \) 2>/dev/null)
set -f
IFS='
'
sample() {
  read -r up rest </proc/uptime && echo "uptime ${up%% *}"
  set --
  for d in $dirs; do
    [ $# -gt 12000 ] && break
    g=${d#memory/}
    if [ $v = . ]; then
      set -- "$@" "$d/cpu.stat" "$d/cpu.max" "$d/memory.current" "$d/memory.max" "$d/memory.stat" \
        "$d/memory.events" "$d/pids.current" "$d/pids.max" "$d/io.stat"
    else
      set -- "$@" "cpuacct/$g/cpuacct.usage" "cpu/$g/cpu.stat" "cpu/$g/cpu.cfs_quota_us" \
        "cpu/$g/cpu.cfs_period_us" "$d/memory.usage_in_bytes" "$d/memory.limit_in_bytes" "$d/memory.stat" \
        "$d/memory.oom_control" "pids/$g/pids.current" "pids/$g/pids.max" \
        "blkio/$g/blkio.throttle.io_service_bytes_recursive" "blkio/$g/blkio.throttle.io_service_bytes"
    fi
  done
  [ $# -gt 0 ] && grep -Hs -E '^(usage_usec|nr_(periods|throttled)|(total_)?inactive_file|oom_kill |[0-9]|max|-1)' "$@"
}
read -r online </sys/devices/system/cpu/online && echo "cpus $online"
read -r memory </proc/meminfo && echo "$memory"
if [ -n "$1" ]; then sample; sleep "$1" 2>/dev/null || sleep 1; fi
sample
set --
for d in $dirs; do
  p=
  read -r p <"$d/cgroup.procs"
  if [ -z "$p" ]; then
    set +f; for f in "$d"/*/cgroup.procs; do read -r p <"$f" && break; done; set -f
  fi
  if [ -n "$p" ]; then echo "pid $p $d"; set -- "$@" "/proc/$p/net/dev"; fi
done 2>/dev/null
[ $# -gt 0 ] && grep -Hs : /proc/net/dev "$@"
true
"""
    template = "{interval}"
    timeout = timedelta(seconds=20)
    max_output = 32 << 20
    interval: float | None = None

    def parse(self, output: CommandOutput) -> Cgroups:
        return from_script(output.text)


@dataclass(frozen=True)
class ReadCgroupsTwice(ReadCgroups):
    """The same twice, some time apart: a share of CPU time needs two readings."""

    lane = Lane.SLOW  # it sleeps, and nobody should wait behind it
    interval: float | None = 0.3


@dataclass(frozen=True)
class _Stats(Command[Mapping[str, EngineUse]]):
    lane = Lane.SLOW
    max_output = 8 << 20
    may_sudo = True

    def parse(self, output: CommandOutput) -> Mapping[str, EngineUse]:
        return from_stats(output.stdout)


@dataclass(frozen=True)
class PodmanReadStats(_Stats):
    """Podman's own statistics, by short id."""

    template = "podman stats --no-stream --no-reset --format json"
    needs = "podman"


@dataclass(frozen=True)
class ReadStats(EngineCommand[Mapping[str, EngineUse]], _Stats):
    """Docker's own statistics, by short id: for devices whose cgroups cannot be read."""

    template = "docker stats --no-stream --format '{{json .}}'"
    podman = PodmanReadStats


@dataclass(frozen=True)
class _Logs(Command[Batch]):
    lane = Lane.SLOW
    max_output = 16 << 20
    accepts_truncated = True
    may_sudo = True
    container: str
    tail: str = "100"
    since: str | None = None
    until: str | None = None

    def parse(self, output: CommandOutput) -> Batch:
        return from_program(output.stdout, output.stderr, truncated=output.truncated)


@dataclass(frozen=True)
class PodmanReadLogs(_Logs):
    """The newest lines of a container, by Podman."""

    template = "podman logs --timestamps --tail={tail} --since={since} --until={until} -- {container}"
    needs = "podman"


@dataclass(frozen=True)
class ReadLogs(EngineCommand[Batch], _Logs):
    """The newest lines of a container, by Docker."""

    template = "docker logs --timestamps --tail={tail} --since={since} --until={until} -- {container}"
    podman = PodmanReadLogs
