"""From the files of `ReadSockets` to sockets with their owners. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from infrastructor.domains.network.addresses import Address, big_endian, from_hex
from infrastructor.domains.system.parsers import total
from infrastructor.sanitize import clean

# docker/<id>, docker-<id>.scope, libpod-<id>.scope, cri-containerd-<id>.scope: on cgroup v1 and v2 alike.
_CONTAINER = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
_UNIT = re.compile(r"/([^/\n]+\.service)(?=/|$)", re.MULTILINE)
_NAME_LENGTH = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """One socket that takes traffic. `container` is a full ID."""

    protocol: Literal["tcp", "udp"]
    address: Address
    port: int
    uid: int
    pid: int | None = None
    process: str | None = None
    unit: str | None = None
    container: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sockets:
    """All sockets of a device that take traffic, and how its kernel gives out ports."""

    sockets: tuple[Socket, ...]
    uid: int | None
    ephemeral: tuple[int, int] | None
    reserved: tuple[tuple[int, int], ...]


@total
def parse_sockets(files: Mapping[str, str]) -> Sockets:
    """The files by path, as `split_files` gives them."""
    big = big_endian(files.get("/program/header", ""))
    owners = {}
    for line in files["/socket/owners"].split():
        pid, _, inode = line.partition(":")
        owners[inode] = int(pid)
    found = []
    for line in files["/socket/list"].splitlines():
        if not line.strip():
            continue
        kind, local, uid, inode = line.split()
        address, _, port = local.partition(":")
        pid_of = owners.get(inode)
        group = files.get(f"/proc/{pid_of}/cgroup", "")
        container, unit = _CONTAINER.search(group), _UNIT.findall(group)
        found.append(
            Socket(
                protocol="tcp" if kind.startswith("tcp") else "udp",
                address=from_hex(address, big=big),
                port=int(port, 16),
                uid=int(uid),
                pid=pid_of,
                process=clean(files.get(f"/proc/{pid_of}/comm", "").strip(), _NAME_LENGTH) or None,
                unit=clean(unit[-1], 100) if unit and not container else None,
                container=container[1] if container else None,
            )
        )
    uid_text = files.get("/login/uid", "").strip()
    return Sockets(
        sockets=tuple(found),
        uid=int(uid_text) if uid_text.isdecimal() else None,
        ephemeral=_pair(files.get("/proc/sys/net/ipv4/ip_local_port_range", "")),
        reserved=_ranges(files.get("/proc/sys/net/ipv4/ip_local_reserved_ports", "")),
    )


def _pair(text: str) -> tuple[int, int] | None:
    words = text.split()
    return (int(words[0]), int(words[1])) if words else None


def _ranges(text: str) -> tuple[tuple[int, int], ...]:
    found = []
    for part in text.strip().split(","):
        if part:
            first, _, last = part.partition("-")
            found.append((int(first), int(last or first)))
    return tuple(found)
