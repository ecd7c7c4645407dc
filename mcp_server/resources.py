"""READ operations with a `resource_uri`, as resources: plain ones, and templates where the URI has parameters."""

import logging
from typing import Any

from fastmcp.exceptions import FastMCPError, ResourceError
from fastmcp.exceptions import ValidationError as InvalidParams
from fastmcp.resources import Resource, ResourceContent, ResourceResult, ResourceTemplate
from fastmcp.server.dependencies import get_context
from pydantic import AnyUrl, PrivateAttr

from infrastructor.errors import InfrastructorError, NotFound, ValidationFailed
from infrastructor.operation import Operation
from mcp_server.door import Door, facts, in_words

MIME_TYPE = "application/json"


class OperationResource(Resource):
    """One URI, read by running the operation with the parameters the URI holds."""

    _operation: Operation[Any, Any] = PrivateAttr()
    _door: Door = PrivateAttr()
    _arguments: dict[str, Any] = PrivateAttr(default_factory=dict)

    @classmethod
    def of(
        cls, operation: Operation[Any, Any], door: Door, uri: str, arguments: dict[str, Any] | None = None
    ) -> "OperationResource":
        resource = cls(uri=AnyUrl(uri), **_description(operation))
        resource._operation = operation
        resource._door = door
        resource._arguments = arguments or {}
        return resource

    async def read(self) -> ResourceResult:
        try:
            await self._screen()
            answer = await self._door.submit(self._operation, self._arguments)
        except InfrastructorError as error:
            raise _as_protocol_error(error) from None
        return ResourceResult(
            [ResourceContent(answer.body.decode(), mime_type=MIME_TYPE, meta=facts(answer))], meta=facts(answer)
        )

    async def _screen(self) -> None:
        try:
            screen(self._operation, self._arguments)
        except ValidationFailed as error:
            await self._door.service.refuse(self._operation, self._door.caller(get_context()), error)
            raise

    @property
    def operation(self) -> Operation[Any, Any]:
        return self._operation


class OperationTemplate(ResourceTemplate):
    """A URI with parameters, `{device}`, `{path*}` or `{?at}`, decoded. What they must be, the service says."""

    _operation: Operation[Any, Any] = PrivateAttr()
    _door: Door = PrivateAttr()

    @classmethod
    def of(cls, operation: Operation[Any, Any], door: Door) -> "OperationTemplate":
        template = cls(
            uri_template=str(operation.resource_uri), parameters={}, security=None, **_description(operation)
        )
        template._operation = operation
        template._door = door
        return template

    @property
    def operation(self) -> Operation[Any, Any]:
        return self._operation

    async def create_resource(self, uri: str, params: dict[str, Any]) -> Resource:
        return OperationResource.of(self._operation, self._door, uri, params)


def resources_of(
    operations: "list[Operation[Any, Any]]", door: Door
) -> tuple[list[OperationResource], list[OperationTemplate]]:
    """The plain resources in their order, and the templates with the more specific ones first."""
    named = [operation for operation in operations if operation.resource_uri is not None]
    plain = [
        OperationResource.of(operation, door, str(operation.resource_uri))
        for operation in named
        if "{" not in str(operation.resource_uri)
    ]
    with_variables = [operation for operation in named if "{" in str(operation.resource_uri)]
    with_variables.sort(key=lambda operation: _specific_first(str(operation.resource_uri)))
    return plain, [OperationTemplate.of(operation, door) for operation in with_variables]


class Locator:
    """From a URI to the operation that reads it, as `resources/read` finds it."""

    def __init__(self, plain: "list[OperationResource]", templates: "list[OperationTemplate]") -> None:
        self._plain = {str(resource.uri): resource for resource in plain}
        self._templates = templates

    def find(self, uri: str) -> tuple[Operation[Any, Any], dict[str, Any]] | None:
        """The operation and its arguments, or None. Raises `ValidationFailed` for what no name and no path holds."""
        if uri in self._plain:
            return self._plain[uri].operation, {}
        for template in self._templates:
            arguments = template.matches(uri)
            if arguments is not None:
                screen(template.operation, arguments)
                return template.operation, arguments
        return None

    def subscribable(self) -> list[str]:
        """URIs and templates of what tells when it changes."""
        operations = [
            *(resource.operation for resource in self._plain.values()),
            *(template.operation for template in self._templates),
        ]
        return [str(operation.resource_uri) for operation in operations if operation.changed_by]


def screen(operation: Operation[Any, Any], arguments: dict[str, Any]) -> None:
    """Raise `ValidationFailed` for what no name and no path holds, however it was encoded in the URI."""
    for name, value in arguments.items():
        if _climbs(value):
            raise ValidationFailed(
                f"{operation.name}: {name} holds a '..' segment or a NUL.", hint="Give the whole path."
            )


def _specific_first(uri: str) -> tuple[str, list[tuple[int, str]]]:
    """Sorts `docker://{device}/containers/{name}` before `docker://{device}/{stack*}`, which would swallow it."""
    scheme, _, rest = uri.partition("://")
    segments = rest.partition("{?")[0].split("/")
    return scheme, [(0 if "{" not in part else 2 if part.endswith("*}") else 1, part) for part in segments]


def _climbs(value: Any) -> bool:
    if isinstance(value, list):
        return any(_climbs(item) for item in value)
    return "\0" in value or ".." in value.replace("\\", "/").split("/")


def _as_protocol_error(error: InfrastructorError) -> FastMCPError:
    """Resources have no error result, only protocol errors: -32602 where the URI is at fault, else -32603."""
    kind = InvalidParams if isinstance(error, NotFound | ValidationFailed) else ResourceError
    return kind(in_words(error), log_level=logging.DEBUG)


def _description(operation: Operation[Any, Any]) -> dict[str, Any]:
    return {
        "name": operation.name,
        "title": operation.title,
        "description": operation.summary,
        "mime_type": MIME_TYPE,
        "tags": {operation.domain},
    }
