"""Join sockets, processes and published ports into the ports of a device. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from infrastructor.domains.network.addresses import Address, scope_of
from infrastructor.domains.network.containers import Container, Publication
from infrastructor.domains.network.models import PortRow, Protocol, Scope
from infrastructor.domains.network.sockets import Socket, Sockets

# Programs that hold a published port for a container; without its proxy the engine itself keeps it from others.
FORWARDERS = frozenset(
    {"docker-proxy", "dockerd", "rootlessport", "rootlesskit", "conmon", "slirp4netns", "pasta", "pasta.avx2"}
)
_EVERYWHERE = (IPv4Address(0), IPv6Address(0))
_WIDEST = (Scope.ALL, Scope.ADDRESS, Scope.LOOPBACK)


@dataclass(slots=True)
class _Entry:
    """What one row is made of, before it is one."""

    protocol: Protocol
    port: int
    socket: Socket | None
    container: Container | None = None
    container_port: int | None = None
    addresses: set[Address] = field(default_factory=set)


def port_rows(found: Sockets, containers: Sequence[Container]) -> list[PortRow]:
    """One row for each port and owner, ordered by port; the addresses of one owner together."""
    by_id = {container.id: container for container in containers}
    publications = _publications(containers)
    entries: dict[tuple[object, ...], _Entry] = {}
    served: set[tuple[str, Publication]] = set()
    for socket in found.sockets:
        published = None
        if socket.process is None or socket.process in FORWARDERS:
            published = next(
                (pair for pair in publications.get((socket.protocol, socket.port), ()) if _holds(socket, pair[1])), None
            )
        if published is not None:
            served.add((published[0].id, published[1]))
        owner = published[0] if published else by_id.get(socket.container or "")
        key: tuple[object, ...] = (
            socket.protocol,
            socket.port,
            "listening",
            socket.process,
            socket.unit,
            owner and owner.id,
        )
        key += (socket.container, scope_of(socket.address))
        entry = entries.setdefault(key, _Entry(socket.protocol, socket.port, socket, owner))
        entry.container_port = published[1].container_port if published else entry.container_port
        entry.addresses.add(socket.address)
    for pairs in publications.values():
        for container, publication in pairs:
            if (container.id, publication) in served or publication.host_port is None:
                continue
            address = publication.address or _EVERYWHERE[0]
            key = (publication.protocol, publication.host_port, "forwarded", container.id, scope_of(address))
            entry = entries.setdefault(key, _Entry(protocol_of(publication), publication.host_port, None, container))
            entry.container_port = publication.container_port
            entry.addresses.add(address)
    rows = [_row(entry) for entry in entries.values()]
    return sorted(rows, key=lambda row: (row.port, row.protocol, row.addresses, row.how, row.process or ""))


def counts(rows: Iterable[PortRow]) -> dict[str, int]:
    """Ports by protocol and the widest scope that any owner of them has."""
    widest: dict[tuple[str, int], Scope] = {}
    for row in rows:
        known = widest.get((row.protocol, row.port), Scope.LOOPBACK)
        widest[row.protocol, row.port] = min(known, row.scope, key=_WIDEST.index)
    counted = Counter(f"{protocol}/{scope.value}" for (protocol, _), scope in widest.items())
    return dict(sorted(counted.items()))


def problems_of(found: Sockets, rows: Sequence[PortRow]) -> list[str]:
    """What the rows cannot tell, and where they contradict each other."""
    said = []
    unknown = [row for row in rows if row.how == "listening" and row.process is None]
    if unknown and found.uid != 0:
        said.append(f"The processes of {len(unknown)} ports are unknown: the login is not root and sees only its own.")
    listeners: dict[tuple[str, int], list[PortRow]] = {}
    for row in rows:
        if row.how == "listening" and row.process is not None:
            listeners.setdefault((row.protocol, row.port), []).append(row)
    for row in rows:
        for other in listeners.get((row.protocol, row.port), ()) if row.how == "forwarded" else ():
            if _overlap(row.scope, other.scope, row.addresses, other.addresses):
                said.append(
                    f"{row.protocol} {row.port}: {other.process} listens, but the engine forwards it to "
                    f"{row.container}; packets from outside reach the container."
                )
    return said


def _publications(containers: Iterable[Container]) -> dict[tuple[str, int], list[tuple[Container, Publication]]]:
    found: dict[tuple[str, int], list[tuple[Container, Publication]]] = {}
    for container in containers:
        for publication in container.ports if container.running else ():
            if publication.host_port is not None:
                found.setdefault((publication.protocol, publication.host_port), []).append((container, publication))
    return found


def _holds(socket: Socket, publication: Publication) -> bool:
    """Whether a forwarder's socket is the one of this publication."""
    address = publication.address
    if address is None or address.is_unspecified:
        # Podman tells no address; Docker lists 0.0.0.0 and :: apart.
        return socket.address.is_unspecified and (address is None or socket.address.version == address.version)
    return socket.address == address


def _overlap(one: Scope, other: Scope, first: Sequence[str], second: Sequence[str]) -> bool:
    return Scope.ALL in (one, other) or bool(set(first) & set(second))


def protocol_of(publication: Publication) -> Protocol:
    """Its protocol; what is neither udp nor sctp is tcp."""
    return "udp" if publication.protocol == "udp" else "sctp" if publication.protocol == "sctp" else "tcp"


def _row(entry: _Entry) -> PortRow:
    socket, container = entry.socket, entry.container
    unnamed = socket.container[:12] if socket is not None and socket.container else None
    return PortRow(
        protocol=entry.protocol,
        port=entry.port,
        addresses=[str(address) for address in sorted(entry.addresses, key=lambda a: (a.version, int(a)))],
        scope=scope_of(next(iter(entry.addresses))),
        how="forwarded" if socket is None else "listening",
        process=socket.process if socket else None,
        pid=socket.pid if socket else None,
        unit=socket.unit if socket else None,
        container=container.name if container else unnamed,
        container_port=entry.container_port,
        stack=container.stack if container else None,
    )
