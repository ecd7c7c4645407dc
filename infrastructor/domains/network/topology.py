"""Networks of the engine with their members, and ranges that collide. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

from infrastructor.domains.network.addresses import Network, Route
from infrastructor.domains.network.containers import Container, EngineNetwork
from infrastructor.domains.network.models import DockerNetwork, Overlap

_SHOWN_MEMBERS = 300  # of all networks of a page together
_FEWEST_MEMBERS = 5
# Made by the engine itself; `podman` is Podman's default network.
_PREDEFINED = frozenset({"bridge", "host", "none", "podman", "docker_gwbridge", "ingress"})

_PODMAN_BRIDGES = ("podman", "cni-podman")

Members = dict[str, dict[str, str | None]]


def members_of(containers: Iterable[Container]) -> Members:
    """Network ID, and name for those that tell no ID → container → its address."""
    found: Members = {}
    for container in containers:
        for attachment in container.attachments:
            key = attachment.network_id or attachment.network
            found.setdefault(key, {})[container.name] = attachment.address
    return found


def describe_all(networks: Sequence[EngineNetwork], members: Members, at_once: int = 500) -> list[DockerNetwork]:
    """All of them; how many members each shows depends on how many share a page of `at_once`."""
    most = max(_FEWEST_MEMBERS, _SHOWN_MEMBERS // max(1, min(at_once, len(networks))))
    return [_describe(network, members, most) for network in networks]


def matches(network: EngineNetwork, members: Members, text: str) -> bool:
    """Whether the text is in its name, its stack or the name of a member."""
    words = (network.name, network.stack or "", *_inside(network, members))
    return any(text in word.lower() for word in words)


def _describe(network: EngineNetwork, members: Members, most: int) -> DockerNetwork:
    inside = _inside(network, members)
    return DockerNetwork(
        name=network.name,
        driver=network.driver,
        scope=network.scope,
        subnets=[str(subnet) for subnet in network.subnets],
        gateways=list(network.gateways),
        internal=network.internal,
        attachable=network.attachable,
        stack=network.stack,
        interface=network.interface,
        members=dict(sorted(inside.items())[:most]),
        members_total=len(inside),
    )


def unused(networks: Iterable[EngineNetwork], members: Members) -> list[str]:
    """Networks somebody made that no container is in, running or not."""
    return [
        network.name
        for network in networks
        if network.name not in _PREDEFINED and network.scope != "swarm" and not _inside(network, members)
    ]


def overlaps(networks: Sequence[EngineNetwork], routes: Iterable[Route]) -> list[Overlap]:
    """Each pair of colliding ranges once; a network's own route through its own bridge is none."""
    ranges = [(network, subnet) for network in networks for subnet in network.subnets]
    found = [
        Overlap(network=one.name, subnet=str(first), other=other.name, other_subnet=str(second))
        for (one, first), (other, second) in combinations(ranges, 2)
        # macvlan and ipvlan share the range of the wire on purpose
        if one.id != other.id and _collide(first, second) and "bridge" in (one.driver, other.driver)
    ]
    bridges = {network.interface for network in networks if network.interface}
    for route in routes:
        # Podman's API does not tell its bridges.
        if (
            route.network.prefixlen
            and route.interface not in bridges
            and not route.interface.startswith(_PODMAN_BRIDGES)
        ):
            found += _with_route(ranges, route)
    return found


def _with_route(ranges: Iterable[tuple[EngineNetwork, Network]], route: Route) -> Iterator[Overlap]:
    for network, subnet in ranges:
        if network.driver == "bridge" and _collide(subnet, route.network):
            yield Overlap(
                network=network.name,
                subnet=str(subnet),
                other=f"route through {route.interface}" + (f" via {route.gateway}" if route.gateway else ""),
                other_subnet=str(route.network),
            )


def _collide(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _inside(network: EngineNetwork, members: Members) -> dict[str, str | None]:
    # Podman's API calls its default network bridge, and its containers call it podman.
    names = (network.id, network.name, *(["podman"] if network.name == "bridge" else []))
    return next((members[name] for name in names if name in members), {})
