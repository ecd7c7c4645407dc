"""From an MCP request to the service and back: who calls, how progress goes out, how an answer must look."""

import os
from typing import Any

from fastmcp.server.context import Context
from fastmcp.server.dependencies import get_access_token, get_context

from infrastructor.app import Application
from infrastructor.errors import InfrastructorError, ResultTooLarge, Unauthenticated
from infrastructor.operation import Answer, Operation
from infrastructor.ports.callers import Caller, Effect, Interface, Role
from infrastructor.sanitize import clean
from infrastructor.signature import fields_of
from mcp_server.announce import announced, wants_progress

MAX_RESULT = 40_000
"""Characters of one result; assistants cut or refuse more."""

_CLIENT_CHARACTERS = 200
_SHOWN = 2000  # characters of an error's message, and of its hint


class Door:
    """What tools and resources share. `local_role` is given on stdio, where the operating system vouches."""

    def __init__(self, application: Application, *, local_role: Role | None, read_only: bool) -> None:
        self.application = application
        self.service = application.service
        self.read_only = read_only or application.service.read_only
        self._local = local_role

    def role(self) -> Role:
        """The role of whoever asks now."""
        return self._who()[1]

    def caller(self, context: Context) -> Caller:
        principal, role = self._who()
        return Caller(principal=principal, role=role, interface=Interface.MCP, client=_client(context))

    async def submit(self, operation: Operation[Any, Any], arguments: dict[str, Any]) -> Answer[Any]:
        """Run it for the caller of this request. Raises `InfrastructorError` kinds only."""
        context = get_context()

        caller = self.caller(context)
        if not wants_progress(context):
            answer = await self.service.submit(operation, arguments, caller)
        else:
            async with announced(context, operation.name) as heard:
                answer = await self.service.submit(
                    operation, arguments, caller, progress=heard.report, started=heard.started
                )
        if len(answer.body) > MAX_RESULT:
            raise _too_large(operation, answer)
        return answer

    def _who(self) -> tuple[str, Role]:
        token = get_access_token()
        if token is not None:
            principal, role = token.client_id, Role(token.claims["role"])
        elif self._local is not None:
            principal, role = f"stdio:{os.getuid()}", self._local
        else:
            raise Unauthenticated("No token was sent.")
        return principal, Role.VIEWER if self.read_only else role


def facts(answer: Answer[Any]) -> dict[str, Any]:
    """Where an answer came from, for `_meta`."""
    return {
        "operation_id": str(answer.operation_id),
        "cache": str(answer.cache),
        "collected_at": answer.collected_at.isoformat(),
        "duration_ms": round(answer.duration_ms, 3),
    }


def in_words(error: InfrastructorError) -> str:
    """The error as one line; what devices said in it can act on no reader."""
    return clean(error.one_line(), 2 * _SHOWN)


def failure(error: InfrastructorError) -> dict[str, Any]:
    """The error as data, for `_meta` or the `data` of a protocol error."""
    described = {
        "code": error.code,
        "message": clean(error.message, _SHOWN),
        "hint": clean(error.hint, _SHOWN),
        "retryable": error.retryable,
    }
    return {"error": described} | ({"operation_id": error.operation_id} if error.operation_id else {})


def _client(context: Context) -> str | None:
    request = context.request_context
    params = None if request is None else request.session.client_params
    if params is None:
        return None
    name = " ".join(f"{params.client_info.name}/{params.client_info.version}".split())
    return clean(name, _CLIENT_CHARACTERS)


def _too_large(operation: Operation[Any, Any], answer: Answer[Any]) -> ResultTooLarge:
    done = "" if operation.effect is Effect.READ else "It was carried out. "
    fields = ", ".join(field.name for field in fields_of(operation) if not field.required) or "none"
    error = ResultTooLarge(
        f"{done}The result of {operation.name} has {len(answer.body):,} characters; {MAX_RESULT:,} is the most.",
        hint=f"Ask for less; parameters that narrow it: {fields}. REST and the CLI give it whole.",
    )
    error.operation_id = str(answer.operation_id)
    return error
