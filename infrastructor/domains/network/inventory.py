"""Ask a device's container engine for what the network operations need of it."""

import asyncio
from collections.abc import Iterable

from infrastructor.domains.containers.reach import ask
from infrastructor.domains.network.containers import Container
from infrastructor.domains.network.queries import ContainerDependencies, PublishingContainers
from infrastructor.errors import (
    CommandFailed,
    CommandNotAvailable,
    CommandTimeout,
    EngineForbidden,
    EngineStopped,
    NotFound,
    ParseError,
)
from infrastructor.operation import Context
from infrastructor.ports.ssh import Via

_AT_ONCE = 8


async def containers_if_any(ctx: Context, problems: list[str]) -> tuple[tuple[Container, ...], Via | None]:
    """All containers; none and no way where there is no engine. An engine that refuses is a problem, not an error."""
    try:
        reply = await ask(ctx, PublishingContainers())
    except (CommandFailed, CommandTimeout, EngineForbidden, EngineStopped, ParseError) as error:
        problems.append(f"Containers are unknown: {error.message} {error.hint}".rstrip())
        return (), None
    except CommandNotAvailable:
        return (), None
    return reply.value, reply.via


async def with_details(ctx: Context, containers: Iterable[Container]) -> tuple[Container, ...]:
    """The same containers in full; those that went meanwhile are left out."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def look(container: Container) -> Container | None:
        if container.details is not None:
            return container
        async with slots:
            try:
                return (await ctx.ask(ContainerDependencies(container.id))).value
            except NotFound:
                return None

    found = await asyncio.gather(*(look(container) for container in containers))
    return tuple(container for container in found if container is not None)
