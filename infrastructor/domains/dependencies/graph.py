"""Who needs whom, from what compose labels, environments, links, networks, mounts and proxies tell. Pure.

A service is all containers of one compose service (`stack/service`), or one container of no stack. An edge points
from what needs to what is needed, and says where that is written. A proxy needs what it sends requests to; but as it
goes on without one of them, it is no way through: what it answers for does not make others fail.
"""

import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Literal, TypeVar

from infrastructor.domains.dependencies.models import Edge, EdgeKind, Node
from infrastructor.domains.network.addresses import parse_address
from infrastructor.domains.network.containers import Container, Mount
from infrastructor.domains.network.references import Reference

_HOST_NAMES = frozenset({"host.docker.internal", "gateway.docker.internal", "host.containers.internal"})
# On every second container, and no sign that two belong together.
_NO_DATA = re.compile(
    r"^/(etc/(localtime|timezone|passwd|group|resolv\.conf|hosts|ssl|ca-certificates|os-release)|(var/)?run"
    r"|dev|proc|sys|lib/modules|usr/share/zoneinfo|var/lib/docker(/containers)?|tmp)(/|$)|^/$"
)
_NAMELESS = frozenset({"bridge", "podman", "host", "none"})  # networks in which names do not resolve
_ANSWERING = 3
_SHARERS = 8  # of more than so many services no one needs another
_EVIDENCE = 3
_EVIDENCE_LENGTH = 160


@dataclass(slots=True)
class _Draft:
    """An edge while evidence for it is gathered."""

    evidence: dict[str, None] = field(default_factory=dict)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Where a proxy sends requests: the configuration that says so, and the upstream as it is shown."""

    config: str
    text: str
    host: str
    port: int | None


Key = tuple[str, str, EdgeKind]
_Kind = Literal["network", "volume", "port", "host"]
N = TypeVar("N")
V = TypeVar("V")


def service_of(container: Container) -> str:
    """`stack/service`, or the container's name."""
    return f"{container.stack}/{container.service}" if container.stack and container.service else container.name


class Graph:
    """The map of one device.

    `host_addresses` are the device's own, `listeners` the ports on which containers listen in its own network, `routes`
    those of proxies, by the proxy's id.
    """

    def __init__(
        self,
        containers: Sequence[Container],
        host_addresses: Iterable[str] = (),
        listeners: Iterable[tuple[int, str]] = (),
        routes: Mapping[str, Sequence[Route]] = MappingProxyType({}),
        *,
        detail: bool = False,
    ) -> None:
        self.containers = containers
        self.host_addresses = frozenset(host_addresses)
        self.listeners = tuple(listeners)
        self.routes = routes
        self.services: dict[str, list[Container]] = {}
        for container in containers:
            self.services.setdefault(service_of(container), []).append(container)
        self._others: dict[str, Node] = {}
        self._drafts: dict[Key, _Draft] = {}
        for container in containers:
            self._read(container)
        self._read_shared_data()
        if detail:
            for container in containers:
                self._read_surroundings(container)

    # --- what is asked -------------------------------------------------------------------------------

    @cached_property
    def edges(self) -> list[Edge]:
        """Problems first, then by name."""
        found = [
            Edge(source=source, target=target, kind=kind, evidence=_joined(draft.evidence), problem=draft.problem)
            for (source, target, kind), draft in self._drafts.items()
        ]
        return sorted(found, key=lambda edge: (edge.problem is None, edge.source, edge.target, edge.kind))

    def nodes(self, names: Iterable[str]) -> list[Node]:
        return [self._node(name) for name in sorted(set(names))]

    @property
    def independent(self) -> list[str]:
        """Services without any edge to or from another service."""
        tied = {name for edge in self.edges if edge.target in self.services for name in (edge.source, edge.target)}
        return sorted(set(self.services) - tied)

    def find(self, name: str) -> list[str]:
        """The services that go by this name: `stack/service`, a container's name, or a service in any stack."""
        if name in self.services:
            return [name]
        found = [service_of(container) for container in self.containers if name in (container.name, container.service)]
        return sorted(set(found))

    def reach(self, start: str, *, backwards: bool) -> list[str]:
        """Everything reachable from a service over its needs, nearest first."""
        ways: dict[str, list[tuple[str, bool]]] = {}
        for edge in self.edges:
            if edge.kind not in (EdgeKind.NETWORK, EdgeKind.PUBLISHES):
                one, other = (edge.target, edge.source) if backwards else (edge.source, edge.target)
                ways.setdefault(one, []).append((other, edge.kind is EdgeKind.PROXY))
        seen, followed, queue = {start: None}, {start}, deque([start])
        while queue:
            here = queue.popleft()
            for name, by_proxy in ways.get(here, ()):
                if by_proxy and not backwards and here != start:
                    continue
                # Two that write into one volume do not need each other.
                if name not in self.services and backwards:
                    continue
                seen[name] = None
                if name not in followed and not (by_proxy and backwards):
                    followed.add(name)
                    queue.append(name)
        return [name for name in seen if name != start]

    # --- what one container says ---------------------------------------------------------------------

    def _read(self, container: Container) -> None:
        name = service_of(container)
        for service, condition in container.depends_on:
            target = f"{container.stack}/{service}"
            problem = None if target in self.services else "There is no such service."
            self._add(name, target, EdgeKind.DEPENDS_ON, f"depends_on: {condition}", problem)
        kind, _, other = container.network_mode.partition(":")
        if kind == "container":
            owner = self._by_id.get(other) or self._by_name.get(other)
            known = service_of(owner) if owner else other[:12]
            problem = None if owner else "There is no such container."
            self._add(name, known, EdgeKind.NETWORK_MODE, "network_mode: uses its network", problem)
        if container.details is None:
            return
        for linked, alias in container.details.links:
            owner = self._by_name.get(linked)
            problem = None if owner else "There is no such container."
            self._add(name, service_of(owner) if owner else linked, EdgeKind.LINK, f"link as {alias}", problem)
        for reference in container.details.references:
            self._read_reference(container, reference)
        for route in self.routes.get(container.id, ()):
            self._read_route(container, route)

    def _read_reference(self, container: Container, reference: Reference) -> None:
        name = service_of(container)
        targets, problem = self._targets(container, reference)
        for target in dict.fromkeys(map(service_of, targets)):
            if target != name:
                self._add(name, target, EdgeKind.ENV, reference.text, problem)

    def _read_route(self, container: Container, route: Route) -> None:
        name, evidence = service_of(container), f"{route.config}: {route.text}"
        reference = _reference(route)
        targets, problem = self._targets(container, reference)
        for target in dict.fromkeys(map(service_of, targets)):
            if target != name:
                self._add(name, target, EdgeKind.PROXY, evidence, problem)
        is_name = parse_address(reference.host) is None and reference.host not in {"localhost", *self.host_addresses}
        if not targets and is_name and not _is_foreign(reference):
            self._add(name, route.host, EdgeKind.PROXY, evidence, f"No container there is named {route.host}.")

    def _targets(self, container: Container, reference: Reference) -> tuple[list[Container], str | None]:
        """The containers that a name or address means from inside this one."""
        host = reference.host
        if host in _HOST_NAMES or host in self.host_addresses:
            return self._publishers.get(reference.port or 0, []), None
        if at_address := self._by_address.get(host):
            return at_address, None
        candidates = self._by_alias.get(host, [])
        mine = self._networks_of(container)
        near = [other for other in candidates if other.id != container.id and mine & _named_in(other)]
        if near or not candidates:
            return self._nearest(container, near)
        # Not to be reached by that name. Believe it only where nobody else can be meant.
        meant = [other for other in candidates if other.stack == container.stack or other.name == host]
        if len({service_of(other) for other in meant}) != 1 or container.id in {other.id for other in meant}:
            return [], None
        return meant, "They share no network, so the name does not resolve."

    def _nearest(self, container: Container, near: list[Container]) -> tuple[list[Container], str | None]:
        """Of all that answer to a name those of the own stack; that others do too is a trap worth telling."""
        services = len({service_of(other) for other in near})
        problem = (
            f"{services} services answer to this name in its networks; which one is chance." if services > 1 else None
        )
        own = [other for other in near if container.stack and other.stack == container.stack]
        return (own or near)[:_ANSWERING], problem

    def _read_shared_data(self) -> None:
        """A service that may only read needs the one that writes."""
        for mounts in self._data.values():
            writers = {service_of(container) for container, mount in mounts if mount.writable}
            if len({service_of(container) for container, _ in mounts}) > _SHARERS:
                continue
            for container, mount in mounts:
                name = service_of(container)
                for writer in sorted(writers - {name}) if name not in writers else ():
                    self._add(name, writer, EdgeKind.VOLUME, f"reads {mount.source}, which the other writes", None)

    def _read_surroundings(self, container: Container) -> None:
        """Networks, volumes, ports and foreign hosts as nodes of their own."""
        for attachment in container.attachments:
            self._surround(container, "network", attachment.network, EdgeKind.NETWORK, attachment.address or "attached")
        for mount in container.mounts:
            if mount.is_volume or not _NO_DATA.search(mount.source):
                evidence = f"{'writes' if mount.writable else 'reads'} at {mount.target}"
                self._surround(container, "volume", mount.source, EdgeKind.VOLUME, evidence)
        for port in container.ports:
            if port.host_port is not None:
                place, evidence = f"{port.host_port}/{port.protocol}", f"to {port.container_port}/{port.protocol}"
                self._surround(container, "port", place, EdgeKind.PUBLISHES, evidence)
        for reference in container.details.references if container.details else ():
            if not self._targets(container, reference)[0] and _is_foreign(reference):
                self._surround(container, "host", reference.host, EdgeKind.ENV, reference.text)
        for route in self.routes.get(container.id, ()):
            reference = _reference(route)
            if not self._targets(container, reference)[0] and _is_foreign(reference):
                self._surround(container, "host", reference.host, EdgeKind.PROXY, f"{route.config}: {route.text}")

    def _surround(self, container: Container, kind: _Kind, name: str, edge: EdgeKind, evidence: str) -> None:
        target = f"{kind}:{name}"  # a volume may have the name of a service
        self._others[target] = Node(name=target, kind=kind, state=None)
        self._add(service_of(container), target, edge, evidence, None)

    # --- drafts --------------------------------------------------------------------------------------

    def _add(self, source: str, target: str, kind: EdgeKind, evidence: str, problem: str | None) -> None:
        draft = self._drafts.setdefault((source, target, kind), _Draft())
        draft.evidence[evidence] = None
        if problem is None and target in self.services and kind is not EdgeKind.VOLUME:
            problem = self._stopped(source, target)
        draft.problem = draft.problem or problem

    def _stopped(self, source: str, target: str) -> str | None:
        """A running service that needs one of which nothing runs. One that has done its work is none."""
        if not any(container.running for container in self.services[source]):
            return None
        containers = self.services[target]
        wanted = [
            condition
            for container in self.services[source]
            for service, condition in container.depends_on
            if f"{container.stack}/{service}" == target
        ]
        if any(container.running for container in containers) or "service_completed_successfully" in wanted:
            return None
        return f"{target} is {containers[0].state}."

    def _node(self, name: str) -> Node:
        containers = self.services.get(name)
        if containers is None:
            return self._others.get(name) or Node(name=name, kind="service", state=None)
        states = Counter(container.state for container in containers)
        running = sum(container.running for container in containers)
        state = next(iter(states)) if len(states) == 1 else f"{running} of {len(containers)} running"
        return Node(name=name, kind="service", state=state)

    # --- tables --------------------------------------------------------------------------------------

    @cached_property
    def _by_id(self) -> Mapping[str, Container]:
        return {container.id: container for container in self.containers}

    @cached_property
    def _by_name(self) -> Mapping[str, Container]:
        return {container.name: container for container in self.containers}

    @cached_property
    def _by_address(self) -> Mapping[str, list[Container]]:
        return _grouped(
            (attachment.address, container)
            for container in self.containers
            for attachment in container.attachments
            if attachment.address
        )

    @cached_property
    def _by_alias(self) -> Mapping[str, list[Container]]:
        """Every name the engine's resolver may answer to."""
        pairs = []
        for container in self.containers:
            names = {container.name.lower(), (container.service or "").lower()}
            aliases = container.details.aliases.values() if container.details else ()
            names |= {alias.lower() for group in aliases for alias in group}
            names |= {alias.lower() for attachment in container.attachments for alias in attachment.aliases}
            # name.network means the same name in that network alone
            names |= {f"{name}.{one.network.lower()}" for name in names if name for one in container.attachments}
            pairs += [(name, container) for name in sorted(names) if name]
        return _grouped(pairs)

    @cached_property
    def _publishers(self) -> Mapping[int, list[Container]]:
        published = [
            (port.host_port, container)
            for container in self.containers
            for port in container.ports
            if port.host_port is not None
        ]
        own = [(port, self._by_id[identity]) for port, identity in self.listeners if identity in self._by_id]
        return _grouped(published + own)

    @cached_property
    def _data(self) -> Mapping[str, list[tuple[Container, Mount]]]:
        return _grouped(
            (mount.source, (container, mount))
            for container in self.containers
            for mount in container.mounts
            if mount.is_volume or not _NO_DATA.search(mount.source)
        )

    def _networks_of(self, container: Container) -> set[str]:
        """Its networks, or those of the container whose network it uses. Names resolve in none of the default ones."""
        kind, _, other = container.network_mode.partition(":")
        owner = self._by_id.get(other) or self._by_name.get(other) if kind == "container" else container
        return _named_in(owner) if owner else set()


def _named_in(container: Container) -> set[str]:
    """The networks in which its own name resolves: none of another container whose network it uses."""
    return {one.network_id or one.network for one in container.attachments if one.network not in _NAMELESS}


def _grouped(pairs: Iterable[tuple[N, V]]) -> dict[N, list[V]]:
    found: dict[N, list[V]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _joined(evidence: Iterable[str]) -> str:
    texts = list(evidence)
    shown = "; ".join(texts[:_EVIDENCE])[:_EVIDENCE_LENGTH]
    return shown if len(texts) <= _EVIDENCE else f"{shown}; {len(texts) - _EVIDENCE} more"


def _reference(route: Route) -> Reference:
    return Reference(route.config, route.host.lower(), route.port)


def _is_foreign(reference: Reference) -> bool:
    """Whether it names a host somewhere else: an address, or a name with a dot in it."""
    address = parse_address(reference.host)
    if address is not None:
        return not (address.is_loopback or address.is_unspecified)
    return "." in reference.host and not reference.host.endswith(".") and reference.host != "localhost"
