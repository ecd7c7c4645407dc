"""The MCP door: every operation a tool, READ operations with a URI also resources, on one flat server."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.completions import CompletionReference
from mcp.server.caching import CacheHint
from mcp_types import Completion, CompletionArgument, CompletionContext

from infrastructor.app import Application
from infrastructor.errors import ValidationFailed
from infrastructor.operation import Operation
from infrastructor.ports.callers import Effect, Interface, Role
from infrastructor.version import installed_version
from mcp_server import quiet
from mcp_server.auth import Verifier
from mcp_server.completion import complete
from mcp_server.confirm import sealing
from mcp_server.door import Door
from mcp_server.instructions import instructions
from mcp_server.listing import RoleListing
from mcp_server.resources import Locator, resources_of
from mcp_server.subscriptions import add_subscriptions
from mcp_server.tools import OperationTool

_LIST_TTL_S = 60


def create_server(
    application: Application,
    *,
    toolsets: Sequence[str] | None = None,
    read_only: bool = False,
    local_role: Role | None = None,
    stopping: asyncio.Event | None = None,
) -> FastMCP:
    """The server over an open application.

    `toolsets` limits it to some domains. `local_role` lets calls without a token in, as `stdio:<uid>`: for stdio,
    never for HTTP. Once `stopping` is set, subscriptions are ended in good order. Raises `ValidationFailed` for a
    toolset that does not exist.
    """
    quiet.settle()
    door = Door(application, local_role=local_role, read_only=read_only)
    operations = _chosen(application, toolsets)
    shown = [operation for operation in operations if not door.read_only or operation.effect is Effect.READ]
    server: FastMCP = FastMCP(
        "infrastructor",
        instructions(shown),
        version=installed_version(),
        auth=Verifier(application),
        middleware=[RoleListing(door)],
        dereference_schemas=False,
        mask_error_details=True,
        strict_input_validation=False,
        cache_ttl=_LIST_TTL_S,
        cache_scope="private",
        on_duplicate="error",
        request_state_security=sealing(application),
    )
    tools = [OperationTool.of(operation, door) for operation in operations]
    for tool in tools:
        server.add_tool(tool)
    plain, templates = resources_of(operations, door)
    for resource in plain:
        server.add_resource(resource)
    for template in templates:
        server.add_template(template)

    @server.completion
    async def completions(
        reference: CompletionReference, argument: CompletionArgument, context: CompletionContext | None
    ) -> Completion | None:
        return await complete(door, operations, reference, argument, context)

    _spare(server, tools)
    add_subscriptions(server, door, Locator(plain, templates), stopping)
    return server


def _spare(server: FastMCP, tools: Sequence[OperationTool]) -> None:
    """Two settings that FastMCP does not pass on to the SDK's server.

    The SDK lists all tools on every call, to look for header declarations that we never make, unless it can look
    a schema up. And a resource is only as fresh as its `_meta` says, so clients must not keep one like a list.
    """
    sdk = server._mcp_server
    sdk.get_tool_input_schema = {tool.name: tool.parameters for tool in tools}.get
    sdk.cache_hints["resources/read"] = CacheHint(ttl_ms=0)


def _chosen(application: Application, toolsets: Sequence[str] | None) -> list[Operation[Any, Any]]:
    service = application.service
    operations = [operation for operation in service.operations.values() if service.offers(operation, Interface.MCP)]
    if toolsets is None:
        return operations
    known = {operation.domain for operation in operations}
    unknown = sorted(set(toolsets) - known)
    if unknown:
        raise ValidationFailed(
            f"There is no toolset {', '.join(unknown)}.", hint=f"Toolsets: {', '.join(sorted(known))}."
        )
    return [operation for operation in operations if operation.domain in toolsets]
