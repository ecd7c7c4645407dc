"""One operation → one MCP tool."""

from typing import Any

from fastmcp.tools import Tool
from fastmcp.tools.base import InputRequiredToolResult, ToolResult
from mcp_types import InputRequiredResult, TextContent, ToolAnnotations
from pydantic import PrivateAttr
from pydantic_core import from_json

from infrastructor.errors import InfrastructorError
from infrastructor.operation import Operation
from infrastructor.ports.callers import Effect
from mcp_server.confirm import confirmed
from mcp_server.door import Door, facts, failure, in_words
from mcp_server.schemas import input_schema, output_schema


class OperationTool(Tool):
    """Submits its arguments as they came; what they must be is the service's business."""

    _operation: Operation[Any, Any] = PrivateAttr()
    _door: Door = PrivateAttr()

    @classmethod
    def of(cls, operation: Operation[Any, Any], door: Door) -> "OperationTool":
        tool = cls(
            name=operation.name,
            title=operation.title,
            description=operation.description,
            tags={operation.domain},
            parameters=input_schema(operation),
            output_schema=output_schema(operation),
            annotations=ToolAnnotations(
                title=operation.title,
                read_only_hint=operation.effect is Effect.READ,
                destructive_hint=operation.effect is Effect.DESTROY,
                idempotent_hint=operation.effect is Effect.READ,
                open_world_hint=operation.reaches_device,
            ),
        )
        tool._operation = operation
        tool._door = door
        return tool

    @property
    def operation(self) -> Operation[Any, Any]:
        return self._operation

    async def run(self, arguments: dict[str, Any]) -> ToolResult:
        """The result as structured content and, for clients that show only text, as JSON text.

        An error is one line of text; its parts are in `_meta`, because structured content must be a result.
        """
        try:
            answer = await confirmed(self._door, self._operation, arguments)
        except InfrastructorError as error:
            return _result(in_words(error), None, failure(error), is_error=True)
        if isinstance(answer, InputRequiredResult):
            return InputRequiredToolResult(answer)
        return _result(answer.body.decode(), from_json(answer.body), facts(answer))


def _result(
    text: str, structured: dict[str, Any] | None, meta: dict[str, Any], *, is_error: bool = False
) -> ToolResult:
    """A `ToolResult` from parts that are JSON already; its constructor would convert them once more."""
    return ToolResult.model_construct(
        content=[TextContent(type="text", text=text)], structured_content=structured, meta=meta, is_error=is_error
    )
