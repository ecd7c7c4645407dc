"""What runs on a device, gathered as far as the upstreams of proxies need it."""

import asyncio
from collections.abc import Iterable, Sequence

from infrastructor.domains.containers.inspection import Inspection
from infrastructor.domains.containers.reach import inspect
from infrastructor.domains.containers.rows import Row
from infrastructor.domains.proxies.commands import ReadListeners
from infrastructor.domains.proxies.parsers import Listener
from infrastructor.domains.proxies.place import Place
from infrastructor.domains.proxies.upstreams import DEVICE, Runtime, wanted_rows
from infrastructor.errors import DataCollectionError, NotFound
from infrastructor.formats.swag import Proxy
from infrastructor.operation import Context

_AT_ONCE = 8
_MOST = 200


async def gather(ctx: Context, place: Place, proxies: Iterable[Proxy], unknown: list[str]) -> Runtime:
    """Containers, networks and listening ports; what cannot be found out is said in `unknown`."""
    swag, rows = place.container, place.rows
    if swag is None or rows is None:
        why = place.unknown or f"{place.folder} belongs to no container that was found"
        unknown.append(f"Whether upstreams can be reached: {why}.")
        return Runtime(swag, rows)
    if swag.state.status != "running":
        unknown.append(f"Whether upstreams can be reached: {swag.name} is {swag.state.status}.")
        return Runtime(swag, rows)
    hosts = {upstream.host for proxy in proxies for upstream in proxy.upstreams if upstream.host}
    networks = Runtime(swag, rows).networks
    chosen = [row for row in wanted_rows(sorted(hosts), rows, networks) if row.id != swag.id]
    if len(chosen) > _MOST:
        unknown.append(f"{len(chosen) - _MOST} containers were not looked at.")
    inspected = (swag, *await _inspect_all(ctx, chosen[:_MOST]))
    pids = [one.state.pid for one in inspected if one.state.pid is not None]
    try:
        listeners = await ctx.run(ReadListeners(pids=(DEVICE, *dict.fromkeys(pids))))
    except DataCollectionError as error:
        unknown.append(f"Whether upstreams listen: {error.message}")
        listeners = tuple(Listener(pid, None) for pid in (DEVICE, *pids))
    return Runtime(swag, rows, inspected, listeners, _addresses(ctx))


async def _inspect_all(ctx: Context, rows: Sequence[Row]) -> list[Inspection]:
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(row: Row) -> Inspection | None:
        async with slots:
            try:
                return (await inspect(ctx, row.id)).value
            except NotFound:  # it went meanwhile
                return None

    found = await asyncio.gather(*(one(row) for row in rows))
    return [container for container in found if container is not None]


def _addresses(ctx: Context) -> frozenset[str]:
    names = {ctx.device.hostname, ctx.device.address or ctx.device.hostname}
    return frozenset(name.lower() for name in names)
