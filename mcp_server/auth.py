"""Bearer tokens of the MCP door: the same tokens, roles and audit as REST."""

import json
from typing import Any

from fastmcp.server.auth import AccessToken, TokenVerifier
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.authentication import AuthCredentials
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infrastructor.app import Application
from infrastructor.errors import Unauthenticated
from infrastructor.ports.callers import Interface
from infrastructor.ports.tokens import ApiToken
from infrastructor.sanitize import clean

_CLIENT_CHARACTERS = 200
_UNAUTHORIZED = 401


class Verifier(TokenVerifier):
    """Checks tokens against ours. FastMCP asks it for the middleware that does so on HTTP."""

    def __init__(self, application: Application) -> None:
        super().__init__()
        self._application = application

    async def verify_token(self, token: str) -> AccessToken | None:
        try:
            return _access(token, await self._application.tokens.authenticate(token))
        except Unauthenticated:
            return None

    def get_middleware(self) -> list[Any]:
        return [Middleware(_Bearer, application=self._application), Middleware(AuthContextMiddleware)]


class _Bearer:
    """Names the user of a request, or audits why not and says in the 401 what to do.

    Which routes need a user is FastMCP's business (`RequireAuthMiddleware` around the MCP route).
    """

    def __init__(self, app: ASGIApp, application: Application) -> None:
        self.app = app
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            secret = _secret(headers)
            token = await self._application.tokens.authenticate(secret)
        except Unauthenticated as error:
            await self.app(scope, receive, _Challenge(send, error, self._application, headers.get("user-agent")))
            return
        access = _access(secret or "", token)
        scope["auth"] = AuthCredentials(access.scopes)
        scope["user"] = AuthenticatedUser(access)
        await self.app(scope, receive, send)


class _Challenge:
    """Replaces the 401 of an unknown caller by one with a hint; other answers (health) pass."""

    def __init__(self, send: Send, error: Unauthenticated, application: Application, client: str | None) -> None:
        self._send = send
        self._error = error
        self._application = application
        self._client = clean(client, _CLIENT_CHARACTERS) if client else None
        self._replaced = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == _UNAUTHORIZED:
            self._replaced = True
            await self._application.service.refuse_authentication(Interface.MCP, self._client, self._error)
            await self._refuse()
        elif not self._replaced:
            await self._send(message)

    async def _refuse(self) -> None:
        said = {"error": "invalid_token", "error_description": self._error.message, "hint": self._error.hint}
        body = json.dumps(said).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"www-authenticate", b"Bearer"),
        ]
        await self._send({"type": "http.response.start", "status": _UNAUTHORIZED, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _secret(headers: Headers) -> str | None:
    sent = headers.getlist("authorization")
    if len(sent) != 1:
        return None
    scheme, _, secret = sent[0].partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _access(secret: str, token: ApiToken) -> AccessToken:
    return AccessToken(
        token=secret,
        client_id=token.name,
        scopes=[str(token.role)],
        subject=str(token.id),
        claims={"role": str(token.role)},
    )
