"""What the network operations ask a container engine, and the same by its command line tool."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from infrastructor.command import Command
from infrastructor.domains.containers.commands import EngineScript
from infrastructor.domains.network.containers import Container, EngineNetwork, inspected, listed, network
from infrastructor.engine import EngineQuery
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import CommandOutput, EngineReply, Lane
from infrastructor.sanitize import clean

T = TypeVar("T")


@dataclass(frozen=True)
class PublishingContainers(EngineQuery[tuple[Container, ...]]):
    """All containers, with the ports, networks and mounts that a list tells."""

    target = "/containers/json?all=true"
    max_output = 32 << 20

    def parse(self, reply: EngineReply) -> tuple[Container, ...]:
        return _rows(reply.body, listed)

    def command(self) -> Command[tuple[Container, ...]]:
        return DescribeContainers()


@dataclass(frozen=True)
class ContainerDependencies(EngineQuery[Container]):
    """One container with its port bindings, links and the hosts its environment names."""

    target = "/containers/{container}/json"
    container: str

    def parse(self, reply: EngineReply) -> Container:
        return inspected(_json(reply.body))


@dataclass(frozen=True)
class EngineNetworks(EngineQuery[tuple[EngineNetwork, ...]]):
    """All networks."""

    target = "/networks"

    def parse(self, reply: EngineReply) -> tuple[EngineNetwork, ...]:
        return _rows(reply.body, network)

    def command(self) -> Command[tuple[EngineNetwork, ...]]:
        return DescribeNetworks()


@dataclass(frozen=True)
class DescribeContainers(EngineScript[tuple[Container, ...]]):
    """All containers in full, by docker or podman. One that goes meanwhile is left out."""

    script = r"""
for tool in docker podman ''; do [ -z "$tool" ] && exit 127; command -v $tool >/dev/null && break; done
ids=$($tool ps -aq --no-trunc) || exit 2
[ -z "$ids" ] && { echo '[]'; exit 0; }
exec $tool inspect --type container $ids
"""
    timeout = timedelta(seconds=60)
    max_output = 64 << 20
    ok_statuses = frozenset({0, 1})
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> tuple[Container, ...]:
        return _rows(output.stdout, inspected)


@dataclass(frozen=True)
class DescribeNetworks(EngineScript[tuple[EngineNetwork, ...]]):
    """All networks in full, by docker or podman."""

    script = r"""
for tool in docker podman ''; do [ -z "$tool" ] && exit 127; command -v $tool >/dev/null && break; done
ids=$($tool network ls -q) || exit 2
[ -z "$ids" ] && { echo '[]'; exit 0; }
exec $tool network inspect $ids
"""
    timeout = timedelta(seconds=30)
    max_output = 16 << 20
    ok_statuses = frozenset({0, 1})
    lane = Lane.SLOW

    def parse(self, output: CommandOutput) -> tuple[EngineNetwork, ...]:
        return _rows(output.stdout, network)


def _rows(body: bytes, read: Callable[[Any], T]) -> tuple[T, ...]:
    rows = _json(body)
    if not isinstance(rows, list):
        raise ParseError(f"Not a list from the container engine: {clean(repr(rows), 200)}")
    return tuple(read(row) for row in rows)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        text = body[:200].decode("utf-8", "replace")
        raise ParseError(f"Not JSON from the container engine: {clean(text)!r}") from error
