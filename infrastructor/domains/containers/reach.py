"""Reaching a device's engine and one container of it, with errors that say which of many things is wrong."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TypeVar

from infrastructor.command import Command
from infrastructor.domains.containers.commands import engine_of
from infrastructor.domains.containers.inspection import Inspection
from infrastructor.domains.containers.queries import QueryContainer, QueryContainers
from infrastructor.domains.containers.rows import SHORT_ID, Row
from infrastructor.engine import EngineQuery, Reply
from infrastructor.errors import (
    CommandFailed,
    CommandNotAvailable,
    Conflict,
    EngineForbidden,
    EngineStopped,
    EngineUnavailable,
    InfrastructorError,
    NotFound,
)
from infrastructor.operation import Context

T = TypeVar("T")

_SHOWN = 10
_FORBIDDEN = re.compile(r"(?i)permission denied|not allowed|operation not permitted")
_STOPPED = re.compile(r"(?i)cannot connect to the docker daemon|is the docker daemon running|connection refused")


async def ask(ctx: Context, query: EngineQuery[T]) -> Reply[T]:
    """Put a query to the engine. Raises `CommandNotAvailable` (no engine), `EngineStopped`, `EngineForbidden`, …"""
    try:
        return await ctx.ask(query)
    except (CommandFailed, CommandNotAvailable) as error:
        raise await explained(ctx, error) from error


async def run(ctx: Context, command: Command[T]) -> T:
    """Run a command of the engine's program, with the same errors."""
    try:
        return await ctx.run(command)
    except (CommandFailed, CommandNotAvailable) as error:
        raise await explained(ctx, error) from error


async def explained(ctx: Context, error: InfrastructorError) -> InfrastructorError:
    """The error by its cause; the same one where nothing better is known."""
    name = ctx.device.hostname
    capabilities = await ctx.links.capabilities(ctx.device)
    if not capabilities.tools & {"docker", "podman"} and capabilities.docker_socket is None:
        return CommandNotAvailable(
            f"{name} has no container engine: neither docker nor podman is installed.",
            hint="Ask another device; device_analyze tells what one has.",
        )
    if _FORBIDDEN.search(error.message) and not capabilities.is_root:
        return EngineForbidden(
            f"{capabilities.user or 'The login'} may not use the {engine_of(capabilities)} of {name}."
        )
    if _STOPPED.search(error.message) or isinstance(error, EngineUnavailable):
        return EngineStopped(f"The {engine_of(capabilities)} engine of {name} does not answer: {error.message}")
    return error


async def inspect(ctx: Context, ref: str) -> Reply[Inspection]:
    """One container by name, id or start of an id. Raises `NotFound` with near names, `Conflict` with candidates."""
    try:
        reply = await ask(ctx, QueryContainer(container=ref))
    except (NotFound, Conflict, CommandFailed) as error:
        rows = (await ask(ctx, QueryContainers())).value
        found = choose(rows, ref, ctx.device.hostname)
        if found.id == ref:
            raise error
        reply = await ask(ctx, QueryContainer(container=found.id))
    if len(reply.value) != 1:
        raise NotFound(f"{ctx.device.hostname} told nothing of the container {ref!r}.")
    return Reply(reply.value[0], reply.via)


def choose(rows: Iterable[Row], ref: str, device: str) -> Row:
    """The container that a reference means. A whole name goes before an id that starts the same."""
    rows = list(rows)
    exact = [row for row in rows if ref in {row.name, row.id}]
    matching = exact or [row for row in rows if row.id.startswith(ref.lower())]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise Conflict(
            f"{ref!r} is the start of {len(matching)} container ids on {device}: {_listed(matching)}.",
            hint="Use a name, or more of the id.",
        )
    near = [row for row in rows if ref.lower() in row.name.lower()]
    close = get_close_matches(ref, [row.name for row in rows], n=5, cutoff=0.5)
    names = list(dict.fromkeys([*(row.name for row in near), *close]))[:_SHOWN]
    raise NotFound(
        f"{device} has no container {ref!r}.",
        hint=f"Near it: {', '.join(names)}." if names else "container_list names the containers there are.",
    )


def _listed(rows: list[Row]) -> str:
    shown = ", ".join(f"{row.name} ({row.id[:SHORT_ID]})" for row in rows[:_SHOWN])
    return shown if len(rows) <= _SHOWN else f"{shown} and {len(rows) - _SHOWN} more"
