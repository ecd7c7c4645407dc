"""Results of the network operations. None is unknown."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from infrastructor.operation import Result

Protocol = Literal["tcp", "udp", "sctp"]
PortSet = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{1,5}(-[0-9]{1,5})?(,[0-9]{1,5}(-[0-9]{1,5})?){0,49}$"),
    Field(description="e.g. 8080,9000-9010."),
]


class Scope(StrEnum):
    """Who can reach a port, as far as its address tells."""

    ALL = "all"
    ADDRESS = "address"
    LOOPBACK = "loopback"


class PortRow(Result):
    """One port of one process or container, over all its addresses."""

    protocol: Protocol = Field(description="tcp, udp or sctp.")
    port: int = Field(description="On the device.")
    addresses: list[str] = Field(description="Bound to; 0.0.0.0 and :: are every address.")
    scope: Scope = Field(description="all interfaces, address (only those listed), or loopback.")
    how: Literal["listening", "forwarded"] = Field(
        description="listening: a socket; forwarded: published by the engine's NAT, no socket."
    )
    process: str | None = Field(description="Name; None when the login may not see it or the kernel owns it.")
    pid: int | None = Field(description="Process ID.")
    unit: str | None = Field(description="systemd service.")
    container: str | None = Field(description="Container it belongs to.")
    container_port: int | None = Field(description="Port inside the container, when published.")
    stack: str | None = Field(description="Compose project of the container.")


class PortList(Result):
    """Ports of a device that take traffic."""

    device: str = Field(description="Device name.")
    counts: dict[str, int] = Field(description="Ports by protocol and scope, e.g. tcp/all.")
    ports: list[PortRow] = Field(description="Ordered by port.")
    total: int = Field(description="Ports that match.")
    engine: Literal["socket", "stdio", "cli"] | None = Field(
        description="Way to the container engine; None: no answer."
    )
    problems: list[str] = Field(description="What could not be found out, and contradictions.")
    next_cursor: str | None = Field(default=None, description="More rows with this cursor.")


class Claim(Result):
    """Who has, or will have, a port."""

    port: int = Field(description="On the device.")
    kind: Literal["listening", "forwarded", "reserved"] = Field(
        description="reserved: a container that is not running publishes it when started."
    )
    holder: str = Field(description="Container or process, with its addresses.")


class PortConflict(Result):
    """A port that several want, so that the later one fails to start."""

    port: int = Field(description="On the device.")
    protocol: Protocol = Field(description="tcp, udp or sctp.")
    holders: list[str] = Field(description="Who holds it or will want it.")


class PortScan(Result):
    """Which wanted ports are free, and which others are."""

    device: str = Field(description="Device name.")
    protocol: Protocol = Field(description="tcp or udp.")
    free: list[str] = Field(description="Wanted ports nobody has, as ranges.")
    taken: list[Claim] = Field(description="Wanted ports somebody has.")
    taken_total: int = Field(description="All of them; the list is cut at 100.")
    ephemeral: list[str] = Field(description="Wanted ports the kernel may hand to outgoing connections.")
    kernel_reserved: list[str] = Field(description="Wanted ports in ip_local_reserved_ports.")
    ephemeral_range: str | None = Field(description="ip_local_port_range.")
    advice: list[int] = Field(description="Free ports nearest to the wanted ones, nearest first.")
    conflicts: list[PortConflict] = Field(description="On the whole device, wanted or not.")
    problems: list[str] = Field(description="What could not be found out.")


class Interface(Result):
    """One network interface."""

    name: str = Field(description="e.g. eth0.")
    kind: str = Field(description="ethernet, wlan, bridge, bond, vlan, veth, wireguard, tun, loopback, …")
    state: str = Field(description="As the kernel says: up, down, unknown, …")
    addresses: list[str] = Field(description="With prefix length.")
    mac: str | None = Field(description="Hardware address.")
    mtu_bytes: int | None = Field(description="Largest packet.")
    speed_mbps: int | None = Field(description="Link speed; None where there is none.")
    duplex: str | None = Field(description="full or half.")
    members: list[str] = Field(description="Of a bridge or bond, or what it stands on; veth ends are counted.")
    rx_bytes: int | None = Field(description="Received since boot.")
    tx_bytes: int | None = Field(description="Sent since boot.")
    errors: int | None = Field(description="Both ways since boot.")
    dropped: int | None = Field(description="Both ways since boot.")


class DefaultRoute(Result):
    """Where packets to the world go."""

    gateway: str | None = Field(description="Next hop.")
    interface: str = Field(description="Way out.")
    metric: int = Field(description="Lowest wins.")


class NetworkInterfaces(Result):
    """The interfaces of a device."""

    device: str = Field(description="Device name.")
    interfaces: list[Interface] = Field(description="Without the host ends of containers.")
    veth_count: int = Field(description="Host ends of containers.")
    default_routes: list[DefaultRoute] = Field(description="Best first.")
    dns_servers: list[str] = Field(description="Resolvers in use; behind systemd-resolved its upstreams.")
    dns_search: list[str] = Field(description="Search domains.")
    problems: list[str] = Field(description="Interfaces with a link problem, and what could not be read.")


class DockerNetwork(Result):
    """One network of the container engine."""

    name: str = Field(description="Name of the network.")
    driver: str = Field(description="bridge, host, macvlan, overlay, …")
    scope: str = Field(description="local, swarm or global.")
    subnets: list[str] = Field(description="CIDR.")
    gateways: list[str] = Field(description="Of the subnets.")
    internal: bool = Field(description="No way out of it.")
    attachable: bool = Field(description="Whether plain containers may join a swarm network.")
    stack: str | None = Field(description="Compose project that made it.")
    interface: str | None = Field(description="Bridge on the host.")
    members: dict[str, str | None] = Field(
        description="Container → its address; None while it is not running. Cut to fit; match=NETWORK shows more."
    )
    members_total: int = Field(description="All of them.")


class Overlap(Result):
    """Two address ranges that are not apart, so packets may take the wrong way."""

    network: str = Field(description="Container network.")
    subnet: str = Field(description="Its range.")
    other: str = Field(description="Another network, or a route of the host.")
    other_subnet: str = Field(description="Its range.")


class DockerNetworkList(Result):
    """Networks of the container engine and who is in them."""

    device: str = Field(description="Device name.")
    engine: Literal["socket", "stdio", "cli"] = Field(description="Way to the engine.")
    networks: list[DockerNetwork] = Field(description="Ordered by name.")
    total: int = Field(description="Networks there are.")
    unused: list[str] = Field(description="Made by somebody, and no container is in them.")
    overlaps: list[Overlap] = Field(description="Ranges that collide.")
    next_cursor: str | None = Field(default=None, description="More rows with this cursor.")


class Outcome(StrEnum):
    """How a step of a connectivity check ended."""

    OK = "ok"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    UNRESOLVED = "unresolved"
    TLS_ERROR = "tls_error"
    HTTP_ERROR = "http_error"
    NO_TOOL = "no_tool"
    FAILED = "failed"


class Step(Result):
    """One step of a check."""

    step: Literal["dns", "tcp", "tls", "http"] = Field(description="What was tried.")
    outcome: Outcome = Field(description="ok, or what went wrong.")
    detail: str = Field(description="What the program said.")
    tool: str | None = Field(description="Program on the device that tried.")
    latency_ms: float | None = Field(description="Time the step took; None where the program cannot tell.")


class Connectivity(Result):
    """Whether a device gets through to a target."""

    device: str = Field(description="Device it was tried from.")
    target: str = Field(description="As asked.")
    outcome: Outcome = Field(
        description="Of the page when one was asked for, else of the first step that failed, or ok."
    )
    addresses: list[str] = Field(description="What the name resolves to on the device.")
    steps: list[Step] = Field(description="In order; the first failure ends them.")
    http_status: int | None = Field(description="Answer to HEAD.")
    redirects_to: str | None = Field(description="Not followed.")
    certificate_days_left: int | None = Field(description="Of the TLS certificate; negative: expired.")
    certificate_issuer: str | None = Field(description="Who signed it.")
