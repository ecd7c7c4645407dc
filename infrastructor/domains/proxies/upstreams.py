"""Whether an upstream can be reached from SWAG: it exists, runs, shares a network, and listens. Pure.

`nginx -t` says nothing of this: SWAG's upstreams are variables, looked up with each request.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address

from infrastructor.domains.containers.inspection import Inspection
from infrastructor.domains.containers.rows import SHORT_ID, Row
from infrastructor.domains.proxies.parsers import Listener
from infrastructor.formats.swag import Upstream

# Networks in which no name resolves.
_NAMELESS = frozenset({"bridge", "host", "none", "podman"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST_NAMES = frozenset({"host.docker.internal", "gateway.docker.internal", "host.containers.internal"})
_SHOWN = 10
DEVICE = 0  # stands for the device's own network among process IDs


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why an upstream cannot be reached."""

    code: str
    message: str


@dataclass(frozen=True)
class Runtime:
    """What runs on the device, as far as upstreams need it. `inspected` are the containers that may be meant."""

    swag: Inspection | None
    rows: tuple[Row, ...] | None
    inspected: tuple[Inspection, ...] = ()
    listeners: tuple[Listener, ...] = ()
    addresses: frozenset[str] = frozenset()

    @cached_property
    def networks(self) -> frozenset[str]:
        """Those of SWAG in which names resolve."""
        return frozenset(one.name for one in self.swag.networks) - _NAMELESS if self.swag else frozenset()

    @cached_property
    def by_name(self) -> Mapping[str, Inspection]:
        """Containers by every name and address that may lead to them; those near to SWAG go before others."""
        found: dict[str, Inspection] = {}
        for container in sorted(self.inspected, key=lambda one: not self.shared(one)):
            for name in names_of(container):
                found.setdefault(name, container)
        return found

    def shared(self, container: Inspection) -> frozenset[str]:
        """The networks in which SWAG finds it by name."""
        return frozenset(one.name for one in container.networks) & self.networks

    def find(self, host: str) -> Inspection | None:
        """`sonarr`, `sonarr.proxynet` or an address."""
        name = host.lower()
        if name in self.by_name:
            return self.by_name[name]
        first, dot, network = name.partition(".")
        return self.by_name.get(first) if dot and network in self.networks else None

    def ports(self, pid: int) -> tuple[frozenset[int], frozenset[int]] | None:
        """Ports open to others, and those open to itself only; None where nobody could look."""
        own = [one for one in self.listeners if one.pid == pid]
        if any(one.port is None for one in own):
            return None
        everyone = frozenset(one.port for one in own if not one.loopback and one.port is not None)
        return everyone, frozenset(one.port for one in own if one.loopback and one.port is not None) - everyone


def names_of(container: Inspection) -> frozenset[str]:
    """What may stand for it in a configuration, in lower case."""
    names = {container.name, container.id[:SHORT_ID], container.labels.get("com.docker.compose.service", "")}
    for network in container.networks:
        names |= {*network.aliases, network.ip or "", network.ipv6 or ""}
    return frozenset(name.lower() for name in names if name)


def wanted_rows(hosts: Iterable[str], rows: Iterable[Row], networks: frozenset[str]) -> list[Row]:
    """The containers worth a closer look: those named, and where a name is nobody's, all that SWAG shares a network."""
    known, chosen = list(rows), {}
    for host in hosts:
        first = host.lower().partition(".")[0]
        named = [row for row in known if {host, first} & {row.name, row.name.lower(), row.service, row.id[:SHORT_ID]}]
        for row in named or [row for row in known if networks.intersection(row.networks)]:
            chosen[row.id] = row
    return list(chosen.values())


def judge(upstream: Upstream, runtime: Runtime) -> Verdict | None:
    """Why it cannot be reached; None when it can, or when nobody here can tell."""
    host, swag = upstream.host, runtime.swag
    if host is None or swag is None or runtime.rows is None or swag.state.status != "running":
        return None
    on_host = swag.network_mode == "host"
    if host.lower() in _LOOPBACK:
        if on_host:
            return _listening(runtime, DEVICE, upstream, "the device itself", itself=True)
        verdict = _listening(runtime, swag.state.pid, upstream, swag.name, itself=True)
        hint = f" (inside {swag.name}, {host} is {swag.name} itself)"
        return Verdict(verdict.code, verdict.message + hint) if verdict else None
    container = runtime.find(host)
    if container is None:
        return _elsewhere(upstream, host, runtime)
    return _container(upstream, container, runtime, by_address=_is_address(host), on_host=on_host)


def _elsewhere(upstream: Upstream, host: str, runtime: Runtime) -> Verdict | None:
    if host.lower() in _HOST_NAMES | runtime.addresses:
        return _listening(runtime, DEVICE, upstream, "the device", itself=False)
    if _is_address(host) or "." in host:
        return None  # another machine
    return Verdict("upstream_missing", f"No container is named {host}.")


def _container(
    upstream: Upstream, container: Inspection, runtime: Runtime, *, by_address: bool, on_host: bool
) -> Verdict | None:
    name = container.name
    if not container.running:
        return Verdict("upstream_stopped", f"Container {name} is {container.state.status}.")
    mode, _, other = (container.network_mode or "").partition(":")
    if not by_address:
        if on_host:
            return Verdict("upstream_unshared", f"SWAG uses the device's own network, where {name} is no name.")
        if mode == "host":
            return Verdict("upstream_unshared", f"{name} uses the device's own network; name the device's address.")
        if mode == "container":
            owner = next((row.name for row in runtime.rows or () if row.id == other), other[:SHORT_ID])
            return Verdict("upstream_unshared", f"{name} uses the network of {owner}; name {owner} instead.")
    if not on_host and not runtime.shared(container) and not _same_bridge(container, runtime, by_address=by_address):
        theirs = ", ".join(sorted(one.name for one in container.networks)) or "none"
        ours = ", ".join(sorted(one.name for one in runtime.swag.networks)) if runtime.swag else "none"
        return Verdict("upstream_unshared", f"{name} is on {theirs}, SWAG on {ours}: no network in common by name.")
    return _listening(runtime, container.state.pid, upstream, name, itself=False)


def _same_bridge(container: Inspection, runtime: Runtime, *, by_address: bool) -> bool:
    """By address the default bridge is as good as any."""
    theirs = {one.name for one in container.networks}
    return by_address and runtime.swag is not None and bool(theirs & {one.name for one in runtime.swag.networks})


def _listening(runtime: Runtime, pid: int | None, upstream: Upstream, who: str, *, itself: bool) -> Verdict | None:
    port = upstream.port
    ports = None if pid is None else runtime.ports(pid)
    if port is None or ports is None:
        return None
    everyone, only_itself = ports
    if port in everyone or (itself and port in only_itself):
        return None
    if port in only_itself:
        return Verdict("upstream_loopback", f"{who} listens on {port} only for itself (127.0.0.1).")
    open_ports = sorted(everyone)
    shown = ", ".join(map(str, open_ports[:_SHOWN])) + (" …" if len(open_ports) > _SHOWN else "")
    return Verdict(
        "upstream_not_listening",
        f"{who} does not listen on {port}; it listens on {shown}." if open_ports else f"{who} listens on no port yet.",
    )


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
