"""What the system operations may run on a device."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from infrastructor.command import Command
from infrastructor.domains.system import parsers
from infrastructor.domains.system.models import Process, Service
from infrastructor.domains.system.samples import Sample, Usage
from infrastructor.errors import ParseError
from infrastructor.masking import mask_secrets
from infrastructor.ports.ssh import Capabilities, CommandOutput, Lane
from infrastructor.sanitize import clean

_TAIL_SOME_MISSING = frozenset({0, 1})  # tail's status when one of its files cannot be read
_SHOWN_COMMAND = 300


@dataclass(frozen=True)
class ReadSample(Command[Sample]):
    """All counters of a machine in one round trip: one `tail` for the kernel's files, one `stat` for its disks.

    Network and FUSE mounts are left to `StatMount`: they can hang.
    """

    # The types are those of `parsers`: a test holds the two together.
    script = r"""
tail -n +1 /proc/stat /proc/meminfo /proc/loadavg /proc/uptime /proc/net/dev /proc/diskstats /proc/mounts \
  /proc/spl/kstat/zfs/arcstats /sys/class/hwmon/hwmon*/name /sys/class/hwmon/hwmon*/temp*_input \
  /sys/class/hwmon/hwmon*/temp*_label /sys/class/thermal/thermal_zone*/type /sys/class/thermal/thermal_zone*/temp \
  2>/dev/null
set --
while read -r source path kind rest; do
  case $kind in
    ext[234]|xfs|btrfs|zfs|bcachefs|f2fs|vfat|exfat|ntfs|ntfs3|jfs|reiserfs|hfsplus|ubifs|jffs2) ;;
    overlay|tmpfs|squashfs) case $path in /|/tmp|/overlay) ;; *) continue ;; esac ;;
    *) continue ;;
  esac
  case $path in *\\*) path=$(printf '%b' "$path") ;; esac
  [ $# -lt 300 ] && set -- "$@" "$path"
done </proc/mounts
printf '\n==> /statfs <==\n'
limit=
command -v timeout >/dev/null && limit='timeout 5'
[ $# -gt 0 ] && $limit stat -f -c '%S %b %f %a %c %d %n' -- "$@" 2>/dev/null
true
"""
    timeout = timedelta(seconds=15)
    max_output = 2 << 20

    def parse(self, output: CommandOutput) -> Sample:
        files = parsers.split_files(output.text)
        return Sample(
            uptime_s=parsers.uptime(_file(files, "/proc/uptime")),
            load=parsers.loadavg(_file(files, "/proc/loadavg")),
            cpu=parsers.cpu_times(_file(files, "/proc/stat")),
            memory=parsers.meminfo(_file(files, "/proc/meminfo")),
            mounts=parsers.mounts(_file(files, "/proc/mounts")),
            usage=parsers.statfs(files.get("/statfs", "")),
            interfaces=parsers.net_dev(_file(files, "/proc/net/dev")),
            disks=parsers.diskstats(files.get("/proc/diskstats", "")),
            temperatures=parsers.temperatures(files),
            zfs_arc_bytes=parsers.arc_size(files.get("/proc/spl/kstat/zfs/arcstats", "")),
        )


@dataclass(frozen=True)
class StatMount(Command[Usage | None]):
    """Ask one mount that may hang, under its own short deadline. None: it did not answer, or has no size."""

    template = "timeout -k 1 2 stat -f -c '%S %b %f %a %c %d %n' -- {path}"
    needs = "timeout"
    timeout = timedelta(seconds=5)
    lane = Lane.SLOW
    ok_statuses = frozenset({0, 1, 124, 137, 143})
    path: str = "/"

    def parse(self, output: CommandOutput) -> Usage | None:
        return parsers.statfs(output.text).get(self.path)


@dataclass(frozen=True)
class ReadFacts(Command[Mapping[str, str]]):
    """The files that say what a machine is, by path."""

    template = (
        "tail -n +1 /etc/os-release /proc/sys/kernel/hostname /proc/sys/kernel/osrelease /proc/sys/kernel/arch"
        " /proc/cpuinfo /proc/meminfo /proc/uptime /proc/1/comm /sys/class/dmi/id/sys_vendor"
        " /sys/class/dmi/id/product_name /sys/class/dmi/id/bios_version /proc/device-tree/model /sys/hypervisor/type"
    )
    ok_statuses = _TAIL_SOME_MISSING
    max_output = 8 << 20

    def parse(self, output: CommandOutput) -> Mapping[str, str]:
        files = parsers.split_files(output.text)
        if "/proc/meminfo" not in files:
            raise ParseError(f"No /proc/meminfo in: {clean(output.text, 200)!r}")
        return files


@dataclass(frozen=True)
class ListUnits(Command[tuple[Service, ...]]):
    """Services of systemd; its plain table is the same on every version."""

    template = "systemctl list-units --type=service --all --plain --full --no-legend --no-pager"
    needs = "systemctl"
    max_output = 4 << 20
    lane = Lane.SLOW

    def variant(self, capabilities: Capabilities) -> "Command[tuple[Service, ...]]":
        if capabilities.systemd:
            return self
        if "rc-status" in capabilities.tools:
            return ListRcServices()
        return ListInitScripts() if "service" in capabilities.tools else self

    def parse(self, output: CommandOutput) -> tuple[Service, ...]:
        found = []
        for line in output.text.splitlines():
            fields = line.lstrip("●*× ").split(None, 4)
            if not fields:
                continue
            if len(fields) < 4:  # noqa: PLR2004
                raise ParseError(f"Not a line of systemctl list-units: {clean(line, 200)!r}")
            name, loaded, active, sub = fields[:4]
            if loaded == "not-found" and active == "inactive":
                continue  # only named by another unit's After= or Wants=
            found.append(Service(name=name, state=active, detail=sub, description=fields[4] if fields[4:] else None))
        return tuple(found)


@dataclass(frozen=True)
class ListRcServices(Command[tuple[Service, ...]]):
    """Services of OpenRC, in all runlevels."""

    template = "rc-status --all --nocolor"
    needs = "rc-status"
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> tuple[Service, ...]:
        found = {}
        for line in output.text.splitlines():
            match = re.match(r"^ (\S+)\s+\[\s*([a-z]+)(?: .*)?\s*\]$", line)
            if match:
                name, said = match.groups()
                found[name] = Service(name=name, state=_RC_STATES.get(said, said), detail=said, description=None)
        return tuple(found.values())


_RC_STATES = {"started": "active", "stopped": "inactive", "crashed": "failed", "starting": "activating"}


@dataclass(frozen=True)
class ListInitScripts(Command[tuple[Service, ...]]):
    """Services of SysV init scripts; '?' means the script cannot tell."""

    script = "service --status-all 2>&1"
    needs = "service"
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> tuple[Service, ...]:
        found = []
        for line in output.text.splitlines():
            match = re.match(r"^ \[ ([-+?]) \]  (\S+)$", line)
            if match:
                sign, name = match.groups()
                found.append(Service(name=name, state=_SYSV_STATES[sign], detail=None, description=None))
        return tuple(found)


_SYSV_STATES = {"+": "active", "-": "inactive", "?": "unknown"}


@dataclass(frozen=True)
class ListProcesses(Command[tuple[Process, ...]]):
    """Every process, by procps `ps`."""

    template = "ps -eww -o pid=,ppid=,user:32=,pcpu=,rss=,etimes=,stat=,args="
    needs = "ps"
    max_output = 8 << 20
    lane = Lane.SLOW

    def variant(self, capabilities: Capabilities) -> "Command[tuple[Process, ...]]":
        return ListBusyBoxProcesses() if capabilities.busybox else self

    def parse(self, output: CommandOutput) -> tuple[Process, ...]:
        found = []
        for line in output.text.splitlines():
            fields = line.split(None, 7)
            try:
                pid, parent, user, cpu, rss, age, state = fields[:7]
                found.append(
                    Process(
                        pid=int(pid),
                        parent_pid=int(parent),
                        user=user,
                        state=state,
                        cpu_percent=float(cpu),
                        memory_bytes=int(rss) * 1024,
                        running_seconds=int(age),
                        command=_shown((fields[7:] or [""])[0]),
                    )
                )
            except ValueError as error:
                raise ParseError(f"Not a line of ps: {clean(line, 200)!r}") from error
        return tuple(found)


# STAT is three places: state, W for swapped out, < or N for priority; blanks may stand in between.
_BUSYBOX_LINE = re.compile(r"^\s*(\d+)\s+(\d+)\s+(\S+)\s+(\S[W ]?[<N ]?)\s+(\d+(?:\.\d+)?)([mg]?)\s(.*)$")


@dataclass(frozen=True)
class ListBusyBoxProcesses(Command[tuple[Process, ...]]):
    """Every process, by BusyBox `ps`, which knows neither CPU share nor, on some builds, age."""

    template = "ps -o pid,ppid,user,stat,rss,args"
    needs = "ps"
    max_output = 8 << 20
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> tuple[Process, ...]:
        found = []
        for line in output.text.splitlines()[1:]:
            match = _BUSYBOX_LINE.match(line)
            if match is None:
                raise ParseError(f"Not a line of BusyBox ps: {clean(line, 200)!r}")
            pid, parent, user, state, rss, unit, command = match.groups()
            found.append(
                Process(
                    pid=int(pid),
                    parent_pid=int(parent),
                    user=user,
                    state=state.replace(" ", ""),
                    cpu_percent=None,
                    memory_bytes=int(float(rss) * {"": 1 << 10, "m": 1 << 20, "g": 1 << 30}[unit]),
                    running_seconds=None,
                    command=_shown(command),
                )
            )
        return tuple(found)


def _shown(command: str) -> str:
    return clean(mask_secrets(command.strip()), _SHOWN_COMMAND)


def _file(files: Mapping[str, str], path: str) -> str:
    try:
        return files[path]
    except KeyError:
        raise ParseError(f"The device could not read {path}.") from None
