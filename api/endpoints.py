"""One operation → one endpoint.

The endpoint gathers path, query and JSON body into one dict and submits it; what the values must be is the
service's business, so bad input gives the same error and the same audit record at every door.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from fastapi import Request
from pydantic_core import from_json
from starlette.responses import Response

from api.auth import Authenticate
from infrastructor.app import Application
from infrastructor.errors import Cancelled, InfrastructorError, RequestTooLarge, ValidationFailed
from infrastructor.operation import Answer, Operation
from infrastructor.sanitize import clean
from infrastructor.signature import Kind, fields_of

Endpoint = Callable[[Request], Awaitable[Response]]

BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
_PATIENCE_S = 0.25


def endpoint_for(operation: Operation[Any, Any], application: Application, authenticate: Authenticate) -> Endpoint:
    """The function behind the operation's route."""
    gather = _Gatherer(operation, application.settings.max_body_bytes)
    service = application.service

    async def endpoint(request: Request) -> Response:
        caller = await authenticate(request)
        try:
            arguments = await gather(request)
        except InfrastructorError as error:
            await service.refuse(operation, caller, error)
            raise
        return respond(await _unless_left(request, service.submit(operation, arguments, caller)))

    return endpoint


async def _unless_left(request: Request, work: Coroutine[Any, Any, Answer[Any]]) -> Answer[Any]:
    """The answer; but a caller that hangs up stops a read, and with it what runs on the device.

    Quick answers pay nothing for the watch: it begins when one is slow.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=_PATIENCE_S)
        if not done:
            leaving = asyncio.create_task(_left(request))
            await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
    finally:
        task.cancel()
    try:
        return await task
    except asyncio.CancelledError:
        raise Cancelled("The caller went away.") from None


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def respond(answer: Answer[Any]) -> Response:
    """The result as it is; where it came from is in the headers."""
    return Response(
        answer.body,
        headers={
            "X-Operation-Id": str(answer.operation_id),
            "X-Cache": answer.cache,
            "X-Collected-At": answer.collected_at.isoformat(),
            "X-Duration-Ms": f"{answer.duration_ms:.3f}",
        },
        media_type="application/json",
    )


class _Gatherer:
    """Reads the arguments of one operation from a request. Raises `ValidationFailed` when it cannot."""

    def __init__(self, operation: Operation[Any, Any], max_body_bytes: int) -> None:
        fields = fields_of(operation)
        self._many = frozenset(field.name for field in fields if field.many)
        self._structured = frozenset(field.name for field in fields if field.kind in {Kind.MAPPING, Kind.JSON})
        self._has_body = operation.route.method in BODY_METHODS
        self._max = max_body_bytes

    async def __call__(self, request: Request) -> dict[str, Any]:
        arguments: dict[str, Any] = dict(request.path_params)
        if request.scope["query_string"]:
            self._merge(arguments, self._query(request))
        if self._has_body:
            self._merge(arguments, await self._body(request))
        elif _announces_body(request):
            raise ValidationFailed(
                f"{request.method} takes no body.", hint="Put the parameters into the path and the query."
            )
        return arguments

    def _merge(self, arguments: dict[str, Any], more: dict[str, Any]) -> None:
        twice = arguments.keys() & more.keys()
        if twice:
            names = ", ".join(clean(name, 80) for name in sorted(twice))
            raise ValidationFailed(f"Given twice: {names}.", hint="Name each parameter once: path, query or body.")
        arguments.update(more)

    def _query(self, request: Request) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in request.query_params:
            given = request.query_params.getlist(name)
            if name in self._structured:
                given = [_structure(name, text) for text in given]
            values[name] = given if name in self._many or len(given) > 1 else given[0]
        return values

    async def _body(self, request: Request) -> dict[str, Any]:
        body = await self._read(request)
        if not body:
            return {}
        sent = request.headers.get("content-type", "")
        if sent.partition(";")[0].strip().lower() != "application/json":
            raise ValidationFailed(
                f"The body is {clean(sent, 80) or 'of no stated type'}.", hint="Send 'Content-Type: application/json'."
            )
        try:
            value = from_json(body)
        except ValueError as error:
            raise ValidationFailed(
                f"The body is not JSON: {clean(str(error), 200)}.", hint='Send an object, like {"device": "nas"}.'
            ) from error
        if not isinstance(value, dict):
            raise ValidationFailed("The body is not an object.", hint='Send an object, like {"device": "nas"}.')
        return value

    async def _read(self, request: Request) -> bytes:
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max:
            raise self._too_large()
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self._max:
                raise self._too_large()
            chunks.append(chunk)
        return b"".join(chunks)

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(f"The body is longer than {self._max:,} bytes.")


def _announces_body(request: Request) -> bool:
    return request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers


def _structure(name: str, text: str) -> Any:
    try:
        return from_json(text)
    except ValueError as error:
        raise ValidationFailed(
            f"{name} is not JSON: {clean(str(error), 200)}.", hint=f'Write {name} as JSON, like {{"role": "db"}}.'
        ) from error
