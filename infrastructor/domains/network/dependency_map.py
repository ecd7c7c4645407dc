"""service_dependency_map: the graph of a device, or the part of it around one service."""

import asyncio
from datetime import timedelta

from pydantic import Field

from infrastructor.domains.network.commands import ReadLinks, ReadSockets
from infrastructor.domains.network.dependencies import Graph
from infrastructor.domains.network.inventory import with_details
from infrastructor.domains.network.models import ServiceDependencyMap
from infrastructor.domains.network.queries import ContainerDependencies, DescribeContainers, PublishingContainers
from infrastructor.errors import DataCollectionError, NotFound, ValidationFailed
from infrastructor.operation import Cache, CachedParams, Context, operation
from infrastructor.paging import Cursor, Limit, fitting
from infrastructor.ports.callers import Effect

_SHOWN_NAMES = 100
_PAGE_CHARACTERS = 20_000  # of edges; their nodes and the lists of names come on top


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
    commands=(ReadLinks, ReadSockets, DescribeContainers),
    queries=(PublishingContainers, ContainerDependencies),
)
async def service_dependency_map(ctx: Context, params: DependencyMapParams) -> ServiceDependencyMap:
    """Map which services of a device need which, with evidence. Use around=NAME before stopping one to see its impact.

    Of environment values only host:port is shown.
    """
    problems: list[str] = []
    reply, addresses, listeners = await asyncio.gather(
        ctx.ask(PublishingContainers()), _own_addresses(ctx, problems), _listeners(ctx, problems)
    )
    containers = await with_details(ctx, reply.value)
    graph = Graph(containers, addresses, listeners, detail=params.detail)
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
    start = int(params.cursor or 0)
    shown = fitting(edges[start : start + params.limit], _PAGE_CHARACTERS, least=1)
    end = start + len(shown)
    independent = graph.independent if params.around is None else []
    return ServiceDependencyMap(
        device=ctx.device.hostname,
        engine=reply.via.value,
        services=len(graph.services),
        independent=independent[:_SHOWN_NAMES],
        independent_total=len(independent),
        nodes=graph.nodes(name for edge in shown for name in (edge.source, edge.target)),
        edges=shown,
        edges_total=len(edges),
        dependents=dependents[:_SHOWN_NAMES],
        dependencies=dependencies[:_SHOWN_NAMES],
        problems=problems,
        next_cursor=str(end) if end < len(edges) else None,
    )


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
