"""The REST door: one route per operation of the catalogue, and seven of its own."""

from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from api import errors, live, openapi, system
from api.auth import authenticator, token_finder
from api.endpoints import endpoint_for
from api.guards import HostOriginGuard, SecurityHeaders, hosts_of
from infrastructor.app import Application
from infrastructor.operation import Operation
from infrastructor.ports.callers import Effect, Interface
from infrastructor.version import installed_version

_ALLOWED_HEADERS = ["Authorization", "Content-Type"]
_SHOWN_HEADERS = ["X-Operation-Id", "X-Cache", "X-Collected-At", "X-Duration-Ms", "Retry-After"]


def create_app(application: Application) -> FastAPI:
    """The ASGI app over an open application. No UI: it would load its scripts from somebody else's server."""
    settings = application.settings
    middleware = [
        Middleware(SecurityHeaders),
        Middleware(HostOriginGuard, hosts=hosts_of(settings), origins=settings.allowed_origins),
    ]
    if settings.allowed_origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.allowed_origins),
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=_ALLOWED_HEADERS,
                expose_headers=_SHOWN_HEADERS,
            )
        )
    app = FastAPI(
        title="Infrastructor",
        version=installed_version(),
        description="Every operation of the catalogue. The same operations are MCP tools and CLI commands.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        middleware=middleware,
    )
    errors.install(app)
    authenticate = authenticator(application)
    operations = sorted(application.service.operations.values(), key=_literal_first)
    shown = {operation.name for operation in operations if _is_shown(operation, application.service.read_only)}
    documented = openapi.Documented([operation for operation in operations if operation.name in shown])
    for operation in operations:
        app.add_api_route(
            operation.route.path,
            endpoint_for(operation, application, authenticate),
            methods=[operation.route.method],
            operation_id=operation.name,
            name=operation.name,
            tags=[operation.domain],
            summary=operation.summary,
            description=operation.description,
            # What is not shown has its route all the same: the service refuses it, and there is a record of who asked.
            include_in_schema=operation.name in shown,
            responses=documented.responses(operation) if operation.name in shown else None,
            openapi_extra=documented.request(operation) if operation.name in shown else None,
            response_model=None,
        )
    system.add_routes(app, application, authenticate)
    live.add_routes(app, application, token_finder(application))
    openapi.install(app, documented)
    return app


def _is_shown(operation: Operation[Any, Any], read_only: bool) -> bool:
    return Interface.REST not in operation.hidden_from and (operation.effect is Effect.READ or not read_only)


def _literal_first(operation: Operation[Any, Any]) -> tuple[tuple[int, str], ...]:
    """Sorts `/devices/overview` before `/devices/{device}`, which would swallow it."""
    segments = operation.route.path.split("/")
    return tuple(((":path" in segment) + segment.startswith("{"), segment) for segment in segments)
