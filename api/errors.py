"""Errors as RFC 9457 problems: the one place where an error code meets an HTTP status."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.responses import Response

from infrastructor import errors
from infrastructor.errors import InfrastructorError
from infrastructor.sanitize import clean

_STATUS: Mapping[type[Exception], int] = {
    errors.ValidationFailed: 400,
    errors.RequestTooLarge: 413,
    errors.Unauthenticated: 401,
    errors.PermissionDenied: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.LimitReached: 429,
    errors.SSHConnectionError: 503,
    errors.SSHTimeout: 504,
    errors.DataCollectionError: 502,
    errors.CommandTimeout: 504,
    errors.DatabaseOperationError: 503,
    errors.Cancelled: 503,
    InfrastructorError: 500,
}
_RETRY_AFTER_S = 5
_SHOWN = 2000

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "code", "retryable"],
    "properties": {
        "type": {"type": "string", "description": "urn:infrastructor:problem:<code>"},
        "title": {"type": "string", "description": "The kind of problem, for people."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What went wrong, with the values."},
        "code": {"type": "string", "description": "Stable; what programs match on."},
        "hint": {"type": "string", "description": "The next step."},
        "operation_id": {"type": "string", "format": "uuid", "description": "Finds the audit record."},
        "retryable": {"type": "boolean", "description": "Whether the same request may work later."},
        "details": {"type": "object", "description": "Further facts."},
    },
}


def status_of(error: InfrastructorError) -> int:
    """The status of the nearest class in the tree that has one."""
    return next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)


def problem(error: InfrastructorError, headers: Mapping[str, str] | None = None, status: int | None = None) -> Response:
    """The error as a response. `status` is for routing errors, which have a status before they have a code."""
    status = status_of(error) if status is None else status
    body: dict[str, Any] = {
        "type": f"urn:infrastructor:problem:{error.code}",
        "title": error.code.replace("_", " ").capitalize(),
        "status": status,
        "detail": clean(error.message, _SHOWN),
        "code": error.code,
        "hint": clean(error.hint, _SHOWN),
        "operation_id": error.operation_id,
        "retryable": error.retryable,
        "details": error.details or None,
    }
    sent = dict(headers or {})
    if error.operation_id:
        sent["X-Operation-Id"] = error.operation_id
    if status == 401:  # noqa: PLR2004 - an HTTP status reads best as itself
        sent["WWW-Authenticate"] = "Bearer"
    if error.retryable and status == 503:  # noqa: PLR2004
        sent["Retry-After"] = str(_RETRY_AFTER_S)
    content = to_json({key: value for key, value in body.items() if value not in (None, "")}, fallback=str)
    return Response(content, status, sent, "application/problem+json")


def install(app: FastAPI) -> None:
    """Make every error of the app a problem, routing errors and bugs included."""
    app.add_exception_handler(InfrastructorError, _deliberate)
    app.add_exception_handler(HTTPException, _routing)
    app.add_exception_handler(Exception, _bug)


async def _deliberate(request: Request, error: Exception) -> Response:
    del request
    if not isinstance(error, InfrastructorError):
        raise error
    return problem(error)


async def _routing(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    where = f"{request.method} {clean(request.url.path, 200)}"
    kinds = {404: errors.NotFound(f"There is no {where}."), 405: errors.NotFound(f"{where} is not offered.")}
    failure = kinds.get(error.status_code, errors.ValidationFailed(str(error.detail)))
    failure.hint = "GET /api/operations lists what there is, with method and path."
    return problem(failure, error.headers, error.status_code)


async def _bug(request: Request, error: Exception) -> Response:
    del request
    return problem(
        InfrastructorError(
            f"The server broke: {type(error).__name__}.", hint="This is a bug; the server's log has the trace."
        )
    )
