"""What a stack comes to once compose has resolved its files: services, ports, paths, images. Pure.

Read from what `docker compose config` (v2) and `docker-compose config` (v1) print. It holds secrets: what is kept of
it here is what a plan has to know, and no environment but PUID, PGID and TZ.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import yaml

from infrastructor.errors import ParseError
from infrastructor.formats.trees import NotUnderstood, check_depth

_PORTS = 65536
_PORT_PARTS = 3
_LONGEST_RANGE = 1000


@dataclass(frozen=True, slots=True)
class Published:
    """A port a service wants on the device; `ip` None: on every address."""

    port: int
    protocol: str
    ip: str | None = None


@dataclass(frozen=True, slots=True)
class Bind:
    """A path of the device in a service."""

    source: str
    target: str
    makes_folder: bool  # a missing source would become a folder, owned by root


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service as compose resolved it."""

    name: str
    image: str | None
    builds: bool
    container_name: str | None
    ports: tuple[Published, ...]
    binds: tuple[Bind, ...]
    network_mode: str | None
    replicas: int
    uid: int | None
    gid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A stack as compose resolved it."""

    services: Mapping[str, Service]
    external_networks: frozenset[str]
    external_volumes: frozenset[str]

    @property
    def expected(self) -> tuple[str, ...]:
        """Services that have containers once it is up."""
        return tuple(sorted(name for name, service in self.services.items() if service.replicas > 0))


def parse_project(text: str) -> Project:
    """Raises `ParseError` for what is no resolved configuration."""
    try:
        check_depth(text)
        loaded = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, NotUnderstood, ValueError, RecursionError) as error:
        raise ParseError("compose printed a configuration that is no YAML.") from error
    document = _mapping(loaded)
    if not isinstance(document.get("services"), Mapping):
        raise ParseError("compose printed a configuration without services.")
    services = {str(name): _service(str(name), _mapping(body)) for name, body in document["services"].items()}
    return Project(
        services=services,
        external_networks=frozenset(_external(document.get("networks"))),
        external_volumes=frozenset(_external(document.get("volumes"))),
    )


def _service(name: str, body: Mapping[str, Any]) -> Service:
    environment = _environment(body.get("environment"))
    deploy = _mapping(body.get("deploy"))
    replicas = deploy.get("replicas", body.get("scale", 1))
    image = body.get("image")
    return Service(
        name=name,
        image=str(image) if image else None,
        builds=bool(body.get("build")),
        container_name=str(body["container_name"]) if body.get("container_name") else None,
        ports=tuple(_ports(body.get("ports"))),
        binds=tuple(_binds(body.get("volumes"))),
        network_mode=str(body["network_mode"]) if body.get("network_mode") else None,
        replicas=replicas if isinstance(replicas, int) and not isinstance(replicas, bool) else 1,
        uid=_identity(environment.get("PUID")),
        gid=_identity(environment.get("PGID")),
    )


def _ports(value: Any) -> Iterator[Published]:
    for item in _items(value):
        if isinstance(item, Mapping):
            protocol, ip, published = item.get("protocol"), item.get("host_ip"), item.get("published")
        else:
            text, _, protocol = str(item).partition("/")
            parts = text.rsplit(":", 2)
            published = parts[-2] if len(parts) > 1 else None
            ip = parts[0].strip("[]") if len(parts) == _PORT_PARTS else None
        for port in port_range(str(published or "")):
            wide = not ip or str(ip) in {"0.0.0.0", "::"}  # noqa: S104 - read, not bound
            yield Published(port, str(protocol or "tcp"), None if wide else str(ip))


def port_range(text: str) -> range:
    """`8080` or `8000-8010`; nothing of what is neither."""
    first, _, last = text.partition("-")
    if not (first.isascii() and first.isdigit() and (last or "0").isascii() and (last or "0").isdigit()):
        return range(0)
    if len(first) > 5 or len(last) > 5:  # noqa: PLR2004
        return range(0)
    start, end = int(first), int(last or first)
    return range(start, end + 1) if 0 < start <= end < _PORTS and end - start < _LONGEST_RANGE else range(0)


def _binds(value: Any) -> Iterator[Bind]:
    for item in _items(value):
        if isinstance(item, Mapping):
            if item.get("type") == "bind" and item.get("source"):
                makes = _mapping(item.get("bind")).get("create_host_path") is not False
                yield Bind(str(item["source"]), str(item.get("target") or ""), makes)
            continue
        source, colon, rest = str(item).partition(":")
        if colon and source.startswith("/"):
            yield Bind(source, rest.partition(":")[0], True)


def _external(value: Any) -> Iterator[str]:
    for name, body in _mapping(value).items():
        external = _mapping(body).get("external")
        if external:
            inner = _mapping(external).get("name") if isinstance(external, Mapping) else None
            yield str(_mapping(body).get("name") or inner or name)


def _environment(value: Any) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    pairs = (str(item).partition("=") for item in _items(value))
    return {name: text for name, _, text in pairs}


def _identity(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
