"""What the container engine says of containers and networks, read for the network operations. Pure.

Read here: the answers of `/containers/json`, `/containers/{id}/json` and `/networks`, and what `inspect` of docker
and podman prints. Seen: Docker 20.10, Podman 4.3.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from infrastructor.domains.network.addresses import Address, Network, parse_address, parse_network
from infrastructor.domains.network.references import Reference, references
from infrastructor.sanitize import clean

_NAME = 255
_PORTS = 65536


@dataclass(frozen=True, slots=True)
class Publication:
    """A port of a container on the device; host_port None: exposed only, or chosen at start."""

    protocol: str
    container_port: int
    host_port: int | None
    address: Address | None


@dataclass(frozen=True, slots=True)
class Attachment:
    """A container in a network."""

    network: str
    network_id: str
    address: str | None
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume by name, or a path of the host."""

    source: str
    is_volume: bool
    target: str
    writable: bool


@dataclass(frozen=True, slots=True)
class Details:
    """What only `inspect` tells. Of the environment nothing but the hosts that its values name."""

    bindings: tuple[Publication, ...]
    links: tuple[tuple[str, str], ...]
    references: tuple[Reference, ...]
    aliases: Mapping[str, tuple[str, ...]]
    hostname: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """One container. `details` None: not asked yet."""

    id: str
    name: str
    image: str
    state: str
    stack: str | None
    service: str | None
    network_mode: str
    depends_on: tuple[tuple[str, str], ...]
    ports: tuple[Publication, ...]
    attachments: tuple[Attachment, ...]
    mounts: tuple[Mount, ...]
    details: Details | None

    @property
    def running(self) -> bool:
        return self.state in {"running", "paused", "restarting"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineNetwork:
    """One network of the engine. `interface` is its bridge on the host."""

    id: str
    name: str
    driver: str
    scope: str
    subnets: tuple[Network, ...]
    gateways: tuple[str, ...]
    internal: bool
    attachable: bool
    stack: str | None
    interface: str | None


def listed(row: Any) -> Container:
    """A row of `/containers/json`."""
    fields = _mapping(row)
    # A container that others link to is also listed as /other/alias.
    names = sorted(map(_text, _items(fields.get("Names"))), key=lambda name: name.count("/"))
    identity = _text(fields.get("Id"))
    return _container(
        fields,
        identity=identity,
        name=names[0].removeprefix("/") if names else identity[:12],
        image=_text(fields.get("Image")),
        state=_text(fields.get("State")).lower(),
        labels=_mapping(fields.get("Labels")),
        ports=tuple(_listed_ports(fields.get("Ports"))),
        details=None,
    )


def inspected(row: Any) -> Container:
    """An object of `inspect`, by the API or a program."""
    fields = _mapping(row)
    config = _mapping(fields.get("Config"))
    host = _mapping(fields.get("HostConfig"))
    networks = _mapping(_mapping(fields.get("NetworkSettings")).get("Networks"))
    details = Details(
        bindings=tuple(islice(_bound_ports(host.get("PortBindings")), _PORTS)),
        links=tuple(_links(host.get("Links"))),
        references=references(_text(value, 8192) for value in _items(config.get("Env"))),
        aliases={name: _aliases(network) for name, network in networks.items()},
        hostname=_text(config.get("Hostname")) or None,
    )
    return _container(
        fields,
        identity=_text(fields.get("Id")),
        name=_text(fields.get("Name")).removeprefix("/"),
        # Podman's program has the name here; Docker's `Image` is a digest.
        image=_text(fields.get("ImageName")) or _text(config.get("Image")),
        state=_text(_mapping(fields.get("State")).get("Status")).lower(),
        labels=_mapping(config.get("Labels")),
        ports=tuple(islice(_bound_ports(_mapping(fields.get("NetworkSettings")).get("Ports")), _PORTS)),
        details=details,
    )


def network(row: Any) -> EngineNetwork:
    """An object of `/networks` or of `network inspect`; Podman's own has lower-case names."""
    fields = {key.lower(): value for key, value in _mapping(row).items()}
    ipam = _mapping(fields.get("ipam"))
    pools = [_mapping(pool) for pool in _items(ipam.get("Config")) + _items(fields.get("subnets"))]
    ranges = [(parse_network(pool.get("Subnet") or pool.get("subnet")), pool) for pool in pools]
    options = _mapping(fields.get("options"))
    labels = _mapping(fields.get("labels"))
    driver = _text(fields.get("driver"))
    identity = _text(fields.get("id"))
    bridge = options.get("com.docker.network.bridge.name") or fields.get("network_interface")
    if not bridge and driver == "bridge" and "network_interface" not in fields:
        bridge = f"br-{identity[:12]}"
    return EngineNetwork(
        id=identity,
        name=_text(fields.get("name")),
        driver=driver,
        scope=_text(fields.get("scope")) or "local",
        subnets=tuple(found for found, _ in ranges if found is not None),
        gateways=tuple(
            _text(pool.get("Gateway") or pool.get("gateway"))
            for found, pool in ranges
            if found is not None and (pool.get("Gateway") or pool.get("gateway"))
        ),
        internal=fields.get("internal") is True,
        attachable=fields.get("attachable") is True,
        stack=_text(labels.get("com.docker.compose.project")) or None,
        interface=_text(bridge) or None,
    )


def _container(
    fields: Mapping[str, Any],
    *,
    identity: str,
    name: str,
    image: str,
    state: str,
    labels: Mapping[str, Any],
    ports: tuple[Publication, ...],
    details: Details | None,
) -> Container:
    networks = _mapping(_mapping(fields.get("NetworkSettings")).get("Networks"))
    return Container(
        id=identity,
        name=name,
        image=image,
        state=state,
        stack=_text(labels.get("com.docker.compose.project"))
        or _text(labels.get("com.docker.stack.namespace"))
        or None,
        service=_text(labels.get("com.docker.compose.service")) or None,
        network_mode=_text(_mapping(fields.get("HostConfig")).get("NetworkMode")),
        depends_on=tuple(_depends_on(_text(labels.get("com.docker.compose.depends_on"), 4000))),
        ports=ports,
        attachments=tuple(
            Attachment(
                network=_text(key),
                network_id=_text(_mapping(value).get("NetworkID")),
                address=_text(_mapping(value).get("IPAddress") or _mapping(value).get("GlobalIPv6Address")) or None,
                aliases=_aliases(value),
            )
            for key, value in networks.items()
        ),
        mounts=tuple(_mounts(fields.get("Mounts"))),
        details=details,
    )


def _listed_ports(value: Any) -> Iterator[Publication]:
    for row in map(_mapping, _items(value)):
        inside = _port(row.get("PrivatePort"))
        if inside is not None:
            yield Publication(
                _text(row.get("Type")) or "tcp", inside, _port(row.get("PublicPort")), parse_address(row.get("IP"))
            )


def _bound_ports(value: Any) -> Iterator[Publication]:
    """`{"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}`; null for exposed only."""
    for key, hosts in _mapping(value).items():
        number, _, protocol = key.partition("/")
        inside = _port(number)
        if inside is None:
            continue
        for host in map(_mapping, _items(hosts)):
            first, _, last = _text(host.get("HostPort")).partition("-")
            start, end = _port(first), _port(last or first)
            for port in range(start, end + 1) if start is not None and end is not None else (None,):
                yield Publication(protocol or "tcp", inside, port or None, parse_address(host.get("HostIp")))


def _links(value: Any) -> Iterator[tuple[str, str]]:
    """`/db:/web/alias` → (db, alias)."""
    for text in map(_text, _items(value)):
        target, _, alias = text.partition(":")
        yield target.strip("/"), alias.rpartition("/")[2] or target.strip("/")


def _depends_on(label: str) -> Iterator[tuple[str, str]]:
    """`db:service_healthy:false,cache:service_started:true`; compose v1 wrote bare names."""
    for part in filter(None, label.split(",")):
        service, _, rest = part.partition(":")
        yield service.strip(), rest.partition(":")[0] or "service_started"


def _mounts(value: Any) -> Iterator[Mount]:
    for row in map(_mapping, _items(value)):
        is_volume = row.get("Type") == "volume"
        source = _text(row.get("Name") if is_volume else row.get("Source"), 1000)
        if source and row.get("Type") in {"volume", "bind"}:
            writable = row.get("RW") is not False
            yield Mount(source, is_volume, _text(row.get("Destination"), 1000), writable)


def _aliases(value: Any) -> tuple[str, ...]:
    row = _mapping(value)
    return tuple(dict.fromkeys(_text(name) for name in _items(row.get("Aliases")) + _items(row.get("DNSNames"))))


def _port(value: Any) -> int | None:
    text = str(value)
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else 0  # noqa: PLR2004
    return number if 0 < number < _PORTS else None


def _text(value: Any, limit: int = _NAME) -> str:
    return clean(value)[:limit] if isinstance(value, str) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
