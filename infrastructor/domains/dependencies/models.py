"""Results of the dependency map. None is unknown."""

from enum import StrEnum
from typing import Literal

from pydantic import Field

from infrastructor.operation import Result


class EdgeKind(StrEnum):
    """Why one thing needs another."""

    DEPENDS_ON = "depends_on"
    ENV = "env"
    LINK = "link"
    NETWORK_MODE = "network_mode"
    VOLUME = "volume"
    PROXY = "proxy"
    NETWORK = "network"
    PUBLISHES = "publishes"


class Node(Result):
    """Something in the map."""

    name: str = Field(description="stack/service or container; others as volume:NAME, port:80/tcp.")
    kind: Literal["service", "network", "volume", "port", "host"] = Field(description="What it is.")
    state: str | None = Field(description="Of a service: running, exited, …; or '1 of 2 running'.")


class Edge(Result):
    """`source` needs `target`."""

    source: str = Field(description="Node that needs.")
    target: str = Field(description="Node that is needed.")
    kind: EdgeKind = Field(description="What tells so.")
    evidence: str = Field(description="Where it is written; values are host:port only.")
    problem: str | None = Field(description="Why it cannot work as it stands.")


class ServiceDependencyMap(Result):
    """Who needs whom on a device."""

    device: str = Field(description="Device name.")
    engine: Literal["socket", "stdio", "cli"] = Field(description="Way to the engine.")
    services: int = Field(description="Services there are: compose services, and containers of no stack.")
    independent: list[str] = Field(description="Services without any edge, at most 100 names.")
    independent_total: int = Field(description="All of those.")
    nodes: list[Node] = Field(description="Ends of the edges on this page.")
    edges: list[Edge] = Field(description="Problems first, then ordered by source.")
    edges_total: int = Field(description="Edges there are.")
    dependents: list[str] = Field(description="With around: what breaks when it stops, nearest first.")
    dependencies: list[str] = Field(description="With around: what it needs, nearest first.")
    problems: list[str] = Field(description="What could not be found out.")
    next_cursor: str | None = Field(default=None, description="More edges with this cursor.")
