"""Rows of a container list, from the engine's API or from what `docker ps` and `podman ps` print. Pure.

Dicts become rows without a model in between: validating what an engine says of 500 containers costs more than
asking it. Seen: Docker 20.10 and 28.2, Podman 4.3 and 5.4.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pydantic_core import from_json

from infrastructor.errors import ParseError
from infrastructor.sanitize import clean

SHORT_ID = 12
_LONGEST_RANGE = 1000

# `Up 3 hours (healthy)`, `Up 2 seconds (health: starting)`, `Exited (137) 2 hours ago`, `Restarting (1) …`
_HEALTH = re.compile(r"\((?:health: )?(healthy|unhealthy|starting)\)")
_EXIT = re.compile(r"^(?:Exited|Restarting) \((-?\d+)\)")
# `0.0.0.0:8080-8082->80-82/tcp`, `[::]:443->443/tcp`, `:::443->443/tcp`, `5432/tcp`
_PORT = re.compile(r"^(?:(?:(?P<ip>.*):)?(?P<host>\d+)(?:-\d+)?->)?(?P<first>\d+)(?:-(?P<last>\d+))?/(?P<kind>\w+)$")
_CREATED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}")
_ANYWHERE = {"", "0.0.0.0", "::", "[::]"}  # noqa: S104 - read, not bound


class Port(NamedTuple):
    """A port of a container; `host` is None where it is not published, `ip` where that is on all addresses."""

    container: int
    kind: str = "tcp"
    host: int | None = None
    ip: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One container as a list tells it. `created_s` is seconds since 1970."""

    id: str
    name: str
    image: str
    state: str
    status: str
    health: str | None = None
    exit_code: int | None = None
    created_s: float | None = None
    ports: tuple[Port, ...] = ()
    networks: tuple[str, ...] = ()
    stack: str | None = None
    service: str | None = None
    pod: str | None = None
    labels: Mapping[str, str] | None = None

    @property
    def condition(self) -> str:
        """Its state, or for one that runs what its health check says."""
        return self.health or self.state if self.state == "running" else self.state


def from_api(body: bytes) -> tuple[Row, ...]:
    """`GET /containers/json` of Docker or Podman: one JSON array."""
    return _rows(_array(body))


def from_lines(body: bytes) -> tuple[Row, ...]:
    """`docker ps --format '{{json .}}'`: one JSON object a line; `podman-docker` prints Podman's fields here."""
    return _rows(_object(line) for line in body.splitlines() if line.strip())


def _array(body: bytes) -> list[Any]:
    try:
        found = from_json(body)
    except ValueError as error:
        raise ParseError(f"Not a list of containers: {_quoted(body)}") from error
    if found is None:
        return []  # Podman's word for none
    if not isinstance(found, list):
        raise ParseError(f"Not a list of containers: {_quoted(body)}")
    return found


def _object(line: bytes) -> Any:
    try:
        return from_json(line)
    except ValueError as error:
        raise ParseError(f"Not a line of docker ps: {_quoted(line)}") from error


def _rows(items: Iterable[Any]) -> tuple[Row, ...]:
    found = []
    for item in items:
        try:
            found.append(_row(item))
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
            raise ParseError(f"Not a container of a list: {clean(repr(item), 200)}") from error
    return tuple(found)


def _row(item: Mapping[str, Any]) -> Row:
    if isinstance(item["Names"], str):
        return _of_docker_ps(item)
    return _of_podman_ps(item) if "PodName" in item else _of_api(item)


def _of_api(item: Mapping[str, Any]) -> Row:
    published = [
        Port(int(port["PrivatePort"]), str(port["Type"]), port.get("PublicPort"), _address(port.get("IP")))
        for port in item.get("Ports") or ()
    ]
    return _finish(
        item,
        # A link of another container to this one is a name with a second slash.
        name=min((str(name) for name in item["Names"]), key=lambda name: name.count("/")).lstrip("/"),
        created_s=_moment(item["Created"]),
        ports=published,
        networks=(item.get("NetworkSettings") or {}).get("Networks") or (),
        labels=item.get("Labels") or {},
    )


def _of_docker_ps(item: Mapping[str, Any]) -> Row:
    return _finish(
        {**item, "Id": item["ID"]},
        name=min(item["Names"].split(","), key=lambda name: name.count("/")).lstrip("/"),
        created_s=_created(str(item.get("CreatedAt") or "")),
        ports=[port for text in item["Ports"].split(", ") if text for port in _ports(text)],
        networks=[name for name in item["Networks"].split(",") if name],
        labels=_labels(item["Labels"]),
    )


def _of_podman_ps(item: Mapping[str, Any]) -> Row:
    ports = [
        Port(int(port["container_port"]) + step, str(port["protocol"]), int(port["host_port"]) + step, address)
        for port in item.get("Ports") or ()
        for address in [_address(port.get("host_ip"))]
        for step in range(min(int(port.get("range") or 1), _LONGEST_RANGE))
    ]
    return _finish(
        item,
        name=str(item["Names"][0]),
        created_s=_moment(item["Created"]),
        ports=ports,
        networks=item.get("Networks") or (),
        labels=item.get("Labels") or {},
    )


def _finish(
    item: Mapping[str, Any],
    *,
    name: str,
    created_s: float | None,
    ports: Iterable[Port],
    networks: Iterable[str],
    labels: Mapping[str, Any],
) -> Row:
    state, status = str(item["State"]).lower(), str(item.get("Status") or "")
    health = _HEALTH.search(status) if state == "running" else None
    ended = _EXIT.match(status)
    code = int(ended[1]) if ended else item.get("ExitCode") if state in {"exited", "stopped"} else None
    stack = labels.get("com.docker.compose.project") or labels.get("io.podman.compose.project")
    service = labels.get("com.docker.compose.service") or labels.get("io.podman.compose.service")
    return Row(
        id=str(item["Id"]),
        name=name,
        image=str(item["Image"]),
        state="exited" if state == "stopped" else "created" if state == "configured" else state,
        status=status,
        health=health[1] if health else None,
        exit_code=None if code is None else int(code),
        created_s=created_s,
        ports=tuple(dict.fromkeys(ports)),  # once, though published on IPv4 and IPv6
        networks=tuple(str(network) for network in networks),
        stack=str(stack) if stack else None,
        service=str(service) if service else None,
        pod=str(item.get("PodName") or "") or None,
        labels=labels,
    )


def _created(text: str) -> float | None:
    """`2026-11-21 12:58:39 +0000 UTC`."""
    match = _CREATED.match(text)
    return datetime.strptime(match[0], "%Y-%m-%d %H:%M:%S %z").timestamp() if match else None


def _moment(value: Any) -> float:
    """Seconds since 1970. Raises ValueError or OverflowError for a time that no calendar has."""
    seconds = float(value)
    datetime.fromtimestamp(seconds, UTC)
    return seconds


def _address(ip: str | None) -> str | None:
    return None if ip is None or ip in _ANYWHERE else ip.strip("[]")


def _ports(text: str) -> Iterable[Port]:
    match = _PORT.match(text)
    if match is None:
        return
    first, last = int(match["first"]), int(match["last"] or match["first"])
    for step in range(min(last - first + 1, _LONGEST_RANGE)):
        host = None if match["host"] is None else int(match["host"]) + step
        yield Port(first + step, match["kind"], host, _address(match["ip"]))


def _labels(text: str) -> dict[str, str]:
    """`a=1,b=2`. A value may hold commas too, so what has no '=' belongs to the label before it."""
    found: dict[str, str] = {}
    last = None
    for part in text.split(","):
        key, sign, value = part.partition("=")
        if sign:
            found[key], last = value, key
        elif last is not None:
            found[last] += f",{part}"
    return found


def short_ports(ports: Iterable[Port]) -> list[str]:
    """Published ports as people write them: `443`, `8080->80`, `127.0.0.1:53/udp`, `9000-9010`."""
    published = sorted((p.ip or "", p.kind, p.host, p.container) for p in ports if p.host is not None)
    runs: list[list[Any]] = []
    for ip, kind, host, container in published:
        run = runs[-1] if runs else None
        if run and (run[0], run[1], run[2] + run[4], run[3] + run[4]) == (ip, kind, host, container):
            run[4] += 1
        else:
            runs.append([ip, kind, host, container, 1])
    return [_short(*run) for run in runs]


def _short(ip: str, kind: str, host: int, container: int, count: int) -> str:
    def span(first: int) -> str:
        return f"{first}-{first + count - 1}" if count > 1 else str(first)

    where = f"{f'[{ip}]' if ':' in ip else ip}:" if ip else ""
    inside = f"->{span(container)}" if container != host else ""
    return f"{where}{span(host)}{inside}{'' if kind == 'tcp' else f'/{kind}'}"


def short_image(image: str) -> str:
    """The image without what goes without saying: registry, :latest, a digest behind a tag."""
    if image.startswith("sha256:"):
        return image[: len("sha256:") + SHORT_ID]
    name = image.partition("@")[0]
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        name = rest
    return name.removeprefix("library/").removesuffix(":latest")


def _quoted(body: bytes) -> str:
    return repr(clean(body[:200].decode("utf-8", "replace")))
