"""The hand-written routes: health, the catalogue as JSON, the OpenAPI document."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from pydantic_core import to_json
from starlette.responses import Response

from api.auth import Authenticate
from infrastructor.app import Application
from infrastructor.operation import Operation
from infrastructor.ports.callers import Effect, Interface
from infrastructor.signature import inlined_schema

logger = logging.getLogger(__name__)


def add_routes(app: FastAPI, application: Application, authenticate: Authenticate) -> None:
    """Register them. Only `/health` and `/health/ready` answer without a token, and they state no facts."""

    async def live() -> Response:
        """Say that the process answers. Nothing about its parts."""
        return _json({"status": "ok"})

    async def ready() -> Response:
        """Say whether reads can be answered and recorded: 200 or 503, no detail."""
        try:
            is_ready = (await application.health()).ready
        except Exception:
            logger.exception("Health check failed")
            is_ready = False
        return _json({"ready": is_ready}, 200 if is_ready else 503)

    async def health(request: Request) -> Response:
        """The state of every part, with what to do about it."""
        await authenticate(request)
        return Response((await application.health()).model_dump_json(), media_type="application/json")

    async def operations(request: Request) -> Response:
        """All operations this caller's role may run, with their parameters as JSON schema."""
        caller = await authenticate(request)
        service = application.service
        offered = [
            describe(operation)
            for operation in service.operations.values()
            if operation.allows(caller.role)
            and Interface.REST not in operation.hidden_from
            and (operation.effect is Effect.READ or not service.read_only)
        ]
        return _json({"operations": offered})

    async def openapi(request: Request) -> Response:
        """This document."""
        await authenticate(request)
        return _json(app.openapi())

    routes = (
        ("/health", live, "health_live", True),
        ("/health/ready", ready, "health_ready", True),
        ("/api/health", health, "health", True),
        ("/api/operations", operations, "operations", True),
        ("/openapi.json", openapi, "openapi", False),
    )
    for path, endpoint, name, documented in routes:
        app.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            operation_id=name,
            tags=["server"],
            include_in_schema=documented,
            response_model=None,
            openapi_extra={"security": []} if path.startswith("/health") else None,
        )


def describe(operation: Operation[Any, Any]) -> dict[str, Any]:
    """An operation as data: what a form or a script needs to offer and call it."""
    return {
        "name": operation.name,
        "title": operation.title,
        "domain": operation.domain,
        "effect": operation.effect,
        "summary": operation.summary,
        "description": operation.description,
        "method": operation.route.method,
        "path": operation.route.path,
        "resource_uri": operation.resource_uri,
        "subscribable": bool(operation.changed_by),
        "cache_ttl_seconds": operation.cache.ttl.total_seconds() if operation.cache else None,
        "params": inlined_schema(operation.params, "validation"),
    }


def _json(value: Any, status: int = 200) -> Response:
    return Response(to_json(value), status, media_type="application/json")
