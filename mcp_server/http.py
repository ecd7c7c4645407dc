"""The MCP server over HTTP: both protocol eras on `/mcp`, guarded, limited, and quick to close."""

import asyncio

from fastmcp import FastMCP
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infrastructor.app import Application
from infrastructor.errors import RequestTooLarge
from infrastructor.ports.callers import Caller, Interface, Role
from infrastructor.sanitize import clean
from mcp_server.events import RecentEvents

PATH = "/mcp"


def create_http_app(server: FastMCP, application: Application, stopping: asyncio.Event | None = None) -> Starlette:
    """The ASGI app. Once `stopping` is set, streams that only wait for events are closed."""
    settings = application.settings

    @server.custom_route("/health", methods=["GET"], include_in_schema=False)
    async def live(request: Request) -> JSONResponse:
        del request
        return JSONResponse({"status": "ok"})

    return server.http_app(
        path=PATH,
        event_store=RecentEvents(),
        host_origin_protection=True,
        allowed_hosts=list(settings.allowed_hosts),
        allowed_origins=list(settings.allowed_origins),
        middleware=[
            Middleware(BodyLimit, application=application),
            Middleware(Leaving, stopping=stopping or asyncio.Event()),
        ],
    )


class BodyLimit:
    """Answers 413 to a body over the limit without reading it all, and audits whose it was."""

    def __init__(self, app: ASGIApp, application: Application) -> None:
        self.app = app
        self._service = application.service
        self._max = application.settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        user = scope.get("user")
        if scope["type"] != "http" or scope["method"] != "POST" or not isinstance(user, AuthenticatedUser):
            await self.app(scope, receive, send)
            return
        body = await self._read(Headers(scope=scope), receive)
        if body is None:
            await self._refuse(scope, receive, send, user)
            return
        unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self.app(scope, replay, send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | None:
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max:
            return None
        body = bytearray()
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message["type"] == "http.request" and message.get("more_body", False)
            if len(body) > self._max:
                return None
        return bytes(body)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, user: AuthenticatedUser) -> None:
        error = RequestTooLarge(f"The message is longer than {self._max:,} bytes.")
        agent = Headers(scope=scope).get("user-agent")
        token = user.access_token
        caller = Caller(
            principal=token.client_id,
            role=Role(token.scopes[0]),
            interface=Interface.MCP,
            client=clean(agent, 200) if agent else None,
        )
        await self._service.refuse(None, caller, error)
        said = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": error.one_line()}}
        await JSONResponse(said, status_code=413)(scope, receive, send)


class Leaving:
    """Tells event streams (GET) that the client left as soon as the server stops, so that they end at once."""

    def __init__(self, app: ASGIApp, stopping: asyncio.Event) -> None:
        self.app = app
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return

        async def receive_or_leave() -> Message:
            waiting = asyncio.create_task(self._stopping.wait())
            heard = asyncio.ensure_future(receive())
            try:
                await asyncio.wait({waiting, heard}, return_when=asyncio.FIRST_COMPLETED)
                return {"type": "http.disconnect"} if waiting.done() else heard.result()
            finally:
                waiting.cancel()
                heard.cancel()

        await self.app(scope, receive_or_leave, send)
