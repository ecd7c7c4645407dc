"""service_dependency_map: the graph of a device, or the part of it around one service."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from pydantic import Field

from infrastructor.domains.containers.reach import ask
from infrastructor.domains.dependencies.graph import Graph, Route
from infrastructor.domains.dependencies.models import Edge, Node, ServiceDependencyMap
from infrastructor.domains.network.commands import ReadLinks, ReadSockets
from infrastructor.domains.network.containers import Container
from infrastructor.domains.network.inventory import with_details
from infrastructor.domains.network.queries import ContainerDependencies, DescribeContainers, PublishingContainers
from infrastructor.domains.proxies.inventory import sort_files
from infrastructor.domains.proxies.place import (
    PLACE_COMMANDS,
    PLACE_QUERIES,
    is_swag,
    place_of_container,
    read_configs,
)
from infrastructor.errors import DataCollectionError, NotFound, PermissionDenied, ValidationFailed
from infrastructor.operation import Cache, CachedParams, Context, Operation, operation
from infrastructor.paging import ROWS_BUDGET, Cursor, Limit, characters, fitting
from infrastructor.ports.callers import Effect
from infrastructor.sanitize import clean

_SHOWN_NAMES = 100
_NAMES_BUDGET = 4000  # characters of one list of names
_CONFIG_NAME = 100


class DependencyMapParams(CachedParams):
    """Input of service_dependency_map."""

    around: str | None = Field(default=None, max_length=255, description="Service or container: only its surroundings.")
    detail: bool = Field(default=False, description="Also networks, volumes, ports and foreign hosts.")
    limit: Limit = 100
    cursor: Cursor | None = None


@operation(
    name="service_dependency_map",
    effect=Effect.READ,
    route="GET /api/network/{device}/dependencies",
    resource_uri="network://{device}/dependencies",
    cache=Cache("dependencies", timedelta(minutes=5)),
    commands=(ReadLinks, ReadSockets, DescribeContainers, *PLACE_COMMANDS),
    queries=(PublishingContainers, ContainerDependencies, *PLACE_QUERIES),
)
async def service_dependency_map(ctx: Context, params: DependencyMapParams) -> ServiceDependencyMap:
    """Map which services of a device need which, with evidence. Use around=NAME before stopping one to see its impact.

    Of environment values only host:port is shown.
    """
    problems: list[str] = []
    reply, addresses, listeners = await asyncio.gather(
        ask(ctx, PublishingContainers()), _own_addresses(ctx, problems), _listeners(ctx, problems)
    )
    containers, routes = await asyncio.gather(with_details(ctx, reply.value), _routes(ctx, reply.value, problems))
    graph = Graph(containers, addresses, listeners, routes, detail=params.detail)
    edges, dependents, dependencies = graph.edges, [], []
    if params.around is not None:
        centre = _centre(graph, params.around)
        dependents = graph.reach(centre, backwards=True)
        dependencies = graph.reach(centre, backwards=False)
        # Not what two of its dependencies have with third parties.
        up, down = {centre, *dependents}, {centre, *dependencies}
        edges = [
            edge
            for edge in edges
            if (edge.source in up and edge.target in up)
            or (edge.source in down and edge.target in down)
            or edge.source == centre
        ]
    independent = graph.independent if params.around is None else []
    problems = fitting(problems, _NAMES_BUDGET)
    lists = [_names(names) for names in (independent, dependents, dependencies)]
    start = int(params.cursor or 0)
    room = ROWS_BUDGET - characters(problems) - sum(map(characters, lists))
    shown, nodes = _fitting(graph, edges[start : start + params.limit], room)
    end = start + len(shown)
    return ServiceDependencyMap(
        device=ctx.device.hostname,
        engine=reply.via.value,
        services=len(graph.services),
        independent=lists[0],
        independent_total=len(independent),
        nodes=nodes,
        edges=shown,
        edges_total=len(edges),
        dependents=lists[1],
        dependencies=lists[2],
        problems=problems,
        next_cursor=str(end) if end < len(edges) else None,
    )


def _names(names: Sequence[str]) -> list[str]:
    shown = fitting(names[:_SHOWN_NAMES], _NAMES_BUDGET)
    return [*shown, *([f"… {len(names) - len(shown)} more"] if len(shown) < len(names) else [])]


def _fitting(graph: Graph, edges: Sequence[Edge], room: int) -> tuple[list[Edge], list[Node]]:
    """The first edges that fit together with their ends, one at least."""
    shown: list[Edge] = []
    nodes: dict[str, Node] = {}
    for edge in edges:
        ends = {node.name: node for node in graph.nodes((edge.source, edge.target)) if node.name not in nodes}
        room -= characters([edge, *ends.values()])
        if room < 0 and shown:
            break
        shown.append(edge)
        nodes |= ends
    return shown, [nodes[name] for name in sorted(nodes)]


async def _routes(ctx: Context, containers: Sequence[Container], problems: list[str]) -> Mapping[str, Sequence[Route]]:
    """What the enabled configurations of each SWAG send on, by the id of its container."""
    found = {}
    for container in containers:
        if not is_swag(container.image):
            continue
        try:
            place = await place_of_container(ctx, container.id)
            inventory = sort_files(await read_configs(ctx, place))
        except (DataCollectionError, NotFound, PermissionDenied) as error:  # one proxy must not hide all the rest
            problems.append(f"What {container.name} is a proxy for is unknown: {error.message}")
            continue
        found[container.id] = [
            Route(clean(entry.label, _CONFIG_NAME), clean(upstream.text, _CONFIG_NAME), upstream.host, upstream.port)
            for entry in inventory.enabled
            for upstream in entry.proxy.upstreams
            if upstream.host is not None
        ]
    return found


async def _own_addresses(ctx: Context, problems: list[str]) -> list[str]:
    """The device's addresses: what is published on them is reached through them."""
    try:
        facts = await ctx.run(ReadLinks())
    except DataCollectionError as error:
        problems.append(f"The device's own addresses are unknown: {error.message}")
        return []
    addresses = [address.partition("/")[0] for link in facts.links for address in link.addresses]
    names = [ctx.device.hostname, ctx.device.address or ctx.device.hostname]
    return [name.lower() for name in (*addresses, *names) if name not in {"127.0.0.1", "::1", "localhost"}]


async def _listeners(ctx: Context, problems: list[str]) -> list[tuple[int, str]]:
    """Ports of containers that use the device's own network."""
    try:
        found = await ctx.run(ReadSockets())
    except DataCollectionError as error:
        problems.append(f"Containers in the device's own network are unknown by port: {error.message}")
        return []
    return [(socket.port, socket.container) for socket in found.sockets if socket.container is not None]


def _centre(graph: Graph, name: str) -> str:
    found = graph.find(name)
    if len(found) == 1:
        return found[0]
    if not found:
        raise NotFound(f"No service or container is named {name!r}.", hint="Call without around to see the names.")
    raise ValidationFailed(f"{name!r} may be {', '.join(found[:20])}.", hint="Give the one that is meant.")


OPERATIONS: tuple[Operation[Any, Any], ...] = (service_dependency_map,)
