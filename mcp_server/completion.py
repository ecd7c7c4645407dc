"""Completions of the variables of resource URIs and the arguments of prompts, from the catalogue's sources."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastmcp.server.completions import CompletionReference
from fastmcp.server.dependencies import get_context
from mcp_types import Completion, CompletionArgument, CompletionContext, ResourceTemplateReference

from infrastructor.errors import InfrastructorError
from infrastructor.operation import Operation, Params, Result
from infrastructor.ports.callers import Caller, Effect
from infrastructor.ports.devices import DeviceRegistry
from infrastructor.signature import fields_of
from mcp_server.door import Door

P = TypeVar("P", bound=Params)
R = TypeVar("R", bound=Result)

PATIENCE_S = 2.0
"""Somebody waits with a finger on a key: later than this, no candidates are better than some."""

_MOST = 100


@dataclass(frozen=True)
class CallersLookup:
    """`completion.Lookup` for whoever sent this request."""

    door: Door
    caller: Caller
    arguments: Mapping[str, str]

    @property
    def devices(self) -> DeviceRegistry:
        return self.door.service.devices

    @property
    def operations(self) -> Mapping[str, Operation[Any, Any]]:
        return self.door.service.operations

    async def ask(self, operation: Operation[P, R], arguments: Mapping[str, Any]) -> R:
        if operation.effect is not Effect.READ:
            raise TypeError(f"{operation.name} is no READ operation")
        result: R = (await self.door.service.submit(operation, arguments, self.caller)).result
        return result


async def complete(
    door: Door,
    operations: Sequence[Operation[Any, Any]],
    reference: CompletionReference,
    argument: CompletionArgument,
    context: CompletionContext | None,
) -> Completion | None:
    """Candidates that start with what was typed; None for what nobody can enumerate, or not in time."""
    source = door.application.completions.get(_source_of(operations, reference, argument.name))
    if source is None:
        return None
    try:
        caller = door.caller(get_context())
        given = {} if context is None else context.arguments or {}
        async with asyncio.timeout(PATIENCE_S):
            candidates = sorted(await source(CallersLookup(door, caller, given)))
    except (InfrastructorError, TimeoutError):
        return None
    matching = [name for name in candidates if name.startswith(argument.value)]
    return Completion(values=matching[:_MOST], total=len(matching), has_more=len(matching) > _MOST)


def _source_of(operations: Sequence[Operation[Any, Any]], reference: CompletionReference, argument: str) -> str:
    """The source that the field behind a URI's variable names; a prompt's argument is named like its source."""
    if isinstance(reference, ResourceTemplateReference):
        for operation in operations:
            if operation.resource_uri == reference.uri:
                named = {field.name: field.completes for field in fields_of(operation)}
                return named.get(argument) or argument
    return argument
