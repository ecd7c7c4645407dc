"""What the ZFS operations may run on a device to look at pools, and at why ZFS does not answer.

OpenZFS 2.3 and newer print JSON, older ones text: each command has a form for both, chosen by the version, and both
give the same answer. Times are said in UTC, so that they are the same wherever the device stands.
"""

import re
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import ClassVar, Self, TypeVar

from infrastructor.command import Command
from infrastructor.domains.zfs import pools, status_json, status_text
from infrastructor.domains.zfs.models import Pool
from infrastructor.domains.zfs.status_json import PoolReading
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import Capabilities, CommandOutput, Lane
from infrastructor.sanitize import clean

COLUMNS = ",".join(pools.COLUMNS)

T = TypeVar("T")

_JSON_SINCE = (2, 3)
_VERSION = re.compile(r"(\d{1,4})\.(\d{1,4})")


def prints_json(capabilities: Capabilities) -> bool:
    """Whether the device's ZFS programs know `-j`."""
    match = _VERSION.match(capabilities.zfs_version or "")
    return match is not None and (int(match[1]), int(match[2])) >= _JSON_SINCE


def alike(command: Command[T], other: Command[T]) -> Command[T]:
    """The other form of a command; as root where the first was to run as root."""
    return other.as_root() if command.sudo else other


@dataclass(frozen=True)
class InTwoForms(Command[T]):
    """A command whose JSON may be broken, and which can then be asked for text instead.

    The ZFS programs stop in the middle of their JSON at the first character that is none in the locale: at any beyond
    ASCII here, and in every locale at bytes that are no text, as names of files may hold.
    """

    text: ClassVar[bool] = False
    """As text on every version."""

    def as_text(self) -> Self:
        """The same command, asked for text."""
        copied = self.as_root() if self.sudo else replace(self)
        object.__setattr__(copied, "text", True)
        return copied


@dataclass(frozen=True)
class ListPoolsJson(Command[tuple[Pool, ...]]):
    """All pools with their figures, as JSON."""

    template = f"zpool list -j --json-int -o {COLUMNS}"
    needs = "zpool"
    may_sudo = True

    def parse(self, output: CommandOutput) -> tuple[Pool, ...]:
        return pools.from_json(output.text)


@dataclass(frozen=True)
class ListPools(Command[tuple[Pool, ...]]):
    """All pools with their figures, one line each."""

    template = f"zpool list -H -p -o {COLUMNS}"
    needs = "zpool"
    may_sudo = True

    def variant(self, capabilities: Capabilities) -> Command[tuple[Pool, ...]]:
        return alike(self, ListPoolsJson()) if prints_json(capabilities) else self

    def parse(self, output: CommandOutput) -> tuple[Pool, ...]:
        return pools.from_text(output.text)


@dataclass(frozen=True)
class ReadPoolStatusJson(Command[tuple[PoolReading, ...]]):
    """The state of all pools, or of one with its damaged files, as JSON."""

    template = "zpool status -j --json-int -P -s -t {files} -- {pool}"
    flags = {"files": "-v"}  # noqa: RUF012
    needs = "zpool"
    lane = Lane.SLOW
    max_output = 16 << 20
    may_sudo = True
    pool: str | None = None
    files: bool = False

    def parse(self, output: CommandOutput) -> tuple[PoolReading, ...]:
        return status_json.pools(output.text)


@dataclass(frozen=True)
class ReadPoolStatus(InTwoForms[tuple[PoolReading, ...]]):
    """The state of all pools, or of one with its damaged files, as text."""

    template = "env TZ=UTC0 zpool status -P -p -s -t {files} -- {pool}"
    flags = {"files": "-v"}  # noqa: RUF012
    needs = "zpool"
    lane = Lane.SLOW
    max_output = 16 << 20
    may_sudo = True
    pool: str | None = None
    files: bool = False

    def variant(self, capabilities: Capabilities) -> Command[tuple[PoolReading, ...]]:
        if self.text or not prints_json(capabilities):
            return self
        return alike(self, ReadPoolStatusJson(self.pool, self.files))

    def parse(self, output: CommandOutput) -> tuple[PoolReading, ...]:
        return tuple(PoolReading(pool) for pool in status_text.pools(output.stdout, self.pool))


@dataclass(frozen=True)
class ZfsAccess:
    """Whether ZFS can be asked on a device, and what it has."""

    module: str | None = None
    """Version of the kernel module; None: not loaded."""
    device_file: str = "missing"
    """/dev/zfs: open, closed to the login, or missing."""
    pools: tuple[str, ...] = ()
    has: bool | None = None
    """Whether the thing that was asked for is there; None: not asked."""


@dataclass(frozen=True)
class ExamineZfs(Command[ZfsAccess]):
    """Why a ZFS program failed: the module, its device file, the pools, and whether a thing of this name is there."""

    script = r"""
if [ -d /sys/module/zfs ]; then v=; read -r v </sys/module/zfs/version; printf 'module %s\n' "$v"; fi 2>/dev/null
if [ -e /dev/zfs ]; then
  if [ -r /dev/zfs ] && [ -w /dev/zfs ]; then echo 'device open'; else echo 'device closed'; fi
fi
zpool list -H -o name 2>/dev/null | while IFS= read -r p; do printf 'pool %s\n' "$p"; done
if [ -n "${1-}" ]; then
  case $1 in
    */*|*@*) zfs list -H -o name -t all -- "$1" >/dev/null 2>&1;;
    *) zpool list -H -o name -- "$1" >/dev/null 2>&1;;
  esac
  if [ $? = 0 ]; then echo 'has yes'; else echo 'has no'; fi
fi
:
"""
    template = "{name}"
    timeout = timedelta(seconds=30)
    may_sudo = True
    name: str | None = None

    def parse(self, output: CommandOutput) -> ZfsAccess:
        values: dict[str, str] = {}
        names: list[str] = []
        for line in output.text.splitlines():
            key, _, value = line.partition(" ")
            if key == "pool":
                names.append(value)
            elif key in {"module", "device", "has"}:
                values[key] = value
            else:
                raise ParseError(f"Not known of ZFS: {clean(line, 80)!r}")
        has = values.get("has")
        return ZfsAccess(
            module=(clean(values["module"], 80) or "unknown") if "module" in values else None,
            device_file=values.get("device", "missing"),
            pools=tuple(names),
            has=None if has is None else has == "yes",
        )
