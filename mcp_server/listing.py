"""What is listed to whom: only tools that the caller's role may run, always in the same order.

Hiding is a courtesy. A hidden tool that is called all the same reaches the service, which refuses and audits it.
"""

from collections.abc import Sequence
from typing import Any

from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import Tool

from mcp_server.door import Door
from mcp_server.tools import OperationTool


class RoleListing(Middleware):
    """Filters tools/list by role."""

    def __init__(self, door: Door) -> None:
        self._door = door

    async def on_list_tools(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Sequence[Tool]]
    ) -> Sequence[Tool]:
        role = self._door.role()
        tools = await call_next(context)
        shown = [tool for tool in tools if not isinstance(tool, OperationTool) or tool.operation.allows(role)]
        return sorted(shown, key=lambda tool: tool.name)
