"""Operations on ports, interfaces, container networks, dependencies and connectivity."""

import asyncio
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from infrastructor.domains.containers.reach import ask
from infrastructor.domains.network import links, scan, topology
from infrastructor.domains.network.commands import ReadLinks, ReadRoutes, ReadSockets
from infrastructor.domains.network.connectivity import connectivity_check
from infrastructor.domains.network.inventory import containers_if_any, with_details
from infrastructor.domains.network.models import (
    DockerNetworkList,
    NetworkInterfaces,
    PortList,
    PortRow,
    PortScan,
    PortSet,
)
from infrastructor.domains.network.ports import counts, port_rows, problems_of
from infrastructor.domains.network.queries import (
    ContainerDependencies,
    DescribeContainers,
    DescribeNetworks,
    EngineNetworks,
    PublishingContainers,
)
from infrastructor.operation import PLAIN, Cache, CachedParams, Context, Operation, operation
from infrastructor.paging import ROWS_BUDGET, Cursor, Limit, characters, fitting, page_within
from infrastructor.ports.callers import Effect

_PROBLEMS_BUDGET = 6000  # characters of a list beside the rows


class PortListParams(CachedParams):
    """Input of port_list."""

    match: str | None = Field(
        default=None, max_length=200, description="Text in port, process, unit, container or stack."
    )
    limit: Limit = 100
    cursor: Cursor | None = None


@operation(
    name="port_list",
    effect=Effect.READ,
    route="GET /api/network/{device}/ports",
    resource_uri="ports://{device}",
    cache=Cache("ports", timedelta(seconds=30)),
    commands=(ReadSockets, DescribeContainers),
    queries=(PublishingContainers,),
)
async def port_list(ctx: Context, params: PortListParams) -> PortList:
    """List open ports of a device with process, container and published port. Use port_scan to find a free one."""
    problems: list[str] = []
    found, (containers, via) = await asyncio.gather(ctx.run(ReadSockets()), containers_if_any(ctx, problems))
    rows = port_rows(found, containers)
    wanted = (params.match or "").lower()
    matching = [row for row in rows if wanted in _searched(row)]
    problems = fitting(problems + problems_of(found, rows), _PROBLEMS_BUDGET)
    shown, next_cursor = page_within(matching, params.limit, params.cursor, ROWS_BUDGET - characters(problems))
    return PortList(
        device=ctx.device.hostname,
        counts=counts(rows),
        ports=shown,
        total=len(matching),
        engine=None if via is None else via.value,
        problems=problems,
        next_cursor=next_cursor,
    )


def _searched(row: PortRow) -> str:
    words = (f"{row.protocol}/{row.port}", row.process, row.unit, row.container, row.stack)
    return " ".join(word for word in words if word).lower()


class PortScanParams(CachedParams):
    """Input of port_scan."""

    wanted: PortSet | None = None
    protocol: Literal["tcp", "udp"] = Field(default="tcp", description="Of the wanted ports.", json_schema_extra=PLAIN)
    count: int = Field(default=5, ge=0, le=50, description="Free ports to advise.")


@operation(
    name="port_scan",
    effect=Effect.READ,
    route="GET /api/network/{device}/ports/scan",
    resource_uri="ports://{device}/analysis",
    cache=Cache("port_scan", timedelta(seconds=30)),
    commands=(ReadSockets, DescribeContainers),
    queries=(PublishingContainers, ContainerDependencies),
)
async def port_scan(ctx: Context, params: PortScanParams) -> PortScan:
    """Tell which wanted ports of a device are free or taken, advise free ones near, and find conflicts.

    Use it before publishing a port. Reads the device's own tables; sends no packet to any port.
    """
    wanted = scan.wanted_ports(params.wanted)
    problems: list[str] = []
    found, (containers, _) = await asyncio.gather(ctx.run(ReadSockets()), containers_if_any(ctx, problems))
    stopped = await with_details(ctx, [container for container in containers if not container.running])
    rows = port_rows(found, containers)
    problems = fitting(problems + problems_of(found, rows), _PROBLEMS_BUDGET)
    return scan.scan(
        device=ctx.device.hostname,
        protocol=params.protocol,
        wanted=wanted,
        count=params.count,
        found=found,
        rows=rows,
        stopped=stopped,
        problems=problems,
    )


class InterfacesParams(CachedParams):
    """Input of network_interfaces."""

    every: bool = Field(default=False, description="Also the host ends (veth) of containers.")


@operation(
    name="network_interfaces",
    effect=Effect.READ,
    route="GET /api/network/{device}/interfaces",
    resource_uri="network://{device}/interfaces",
    cache=Cache("interfaces", timedelta(seconds=60)),
    commands=(ReadLinks,),
)
async def network_interfaces(ctx: Context, params: InterfacesParams) -> NetworkInterfaces:
    """Show interfaces of a device: addresses, speed, errors, members, default routes, DNS servers.

    Use connectivity_check to try a way out.
    """
    return links.describe(ctx.device.hostname, await ctx.run(ReadLinks()), every=params.every)


class DockerNetworkListParams(CachedParams):
    """Input of docker_network_list."""

    match: str | None = Field(default=None, max_length=200, description="Text in network, member or stack.")
    limit: Limit = 40
    cursor: Cursor | None = None


@operation(
    name="docker_network_list",
    effect=Effect.READ,
    route="GET /api/network/{device}/docker",
    resource_uri="network://{device}/docker",
    cache=Cache("docker_networks", timedelta(seconds=60)),
    commands=(ReadRoutes, DescribeContainers, DescribeNetworks),
    queries=(EngineNetworks, PublishingContainers),
)
async def docker_network_list(ctx: Context, params: DockerNetworkListParams) -> DockerNetworkList:
    """List container networks of a device: subnets, members, unused ones and overlapping ranges.

    Use service_dependency_map for who talks to whom.
    """
    reply, containers, routes = await asyncio.gather(
        ask(ctx, EngineNetworks()), ask(ctx, PublishingContainers()), ctx.run(ReadRoutes())
    )
    networks = sorted(reply.value, key=lambda network: network.name)
    members = topology.members_of(containers.value)
    wanted = (params.match or "").lower()
    matching = [network for network in networks if topology.matches(network, members, wanted)]
    unused = fitting(topology.unused(networks, members), _PROBLEMS_BUDGET)
    overlaps = fitting(topology.overlaps(networks, routes), _PROBLEMS_BUDGET)
    shown, next_cursor = page_within(
        topology.describe_all(matching, members, at_once=params.limit),
        params.limit,
        params.cursor,
        ROWS_BUDGET - characters(unused) - characters(overlaps),
    )
    return DockerNetworkList(
        device=ctx.device.hostname,
        engine=reply.via.value,
        networks=shown,
        total=len(matching),
        unused=unused,
        overlaps=overlaps,
        next_cursor=next_cursor,
    )


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    port_list,
    port_scan,
    network_interfaces,
    docker_network_list,
    connectivity_check,
)
