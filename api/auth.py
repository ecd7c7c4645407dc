"""Bearer token → caller. Routes ask for a caller themselves; nothing is decided on the text of a path."""

from collections.abc import Awaitable, Callable

from fastapi import Request
from starlette.requests import HTTPConnection

from infrastructor.app import Application
from infrastructor.errors import Unauthenticated
from infrastructor.ports.callers import Caller, Interface
from infrastructor.ports.tokens import ApiToken
from infrastructor.sanitize import clean

TokenOf = Callable[[Request], Awaitable[ApiToken]]
Authenticate = Callable[[Request], Awaitable[Caller]]

_CLIENT_CHARACTERS = 200


def token_finder(application: Application) -> TokenOf:
    """A function that gives the token of a request or raises `Unauthenticated`, audited."""

    async def token_of(request: Request) -> ApiToken:
        try:
            return await application.tokens.authenticate(_secret(request))
        except Unauthenticated as error:
            await application.service.refuse_authentication(Interface.REST, client_of(request), error)
            raise

    return token_of


def authenticator(application: Application) -> Authenticate:
    """A function that names the caller of a request or raises `Unauthenticated`, audited."""
    token_of = token_finder(application)

    async def authenticate(request: Request) -> Caller:
        return caller_of(await token_of(request), request)

    return authenticate


def caller_of(token: ApiToken, request: HTTPConnection) -> Caller:
    return Caller(principal=token.name, role=token.role, interface=Interface.REST, client=client_of(request))


def _secret(request: Request) -> str | None:
    sent = request.headers.getlist("authorization")
    if len(sent) != 1:
        return None
    scheme, _, secret = sent[0].partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def client_of(request: HTTPConnection) -> str | None:
    """What the client calls itself."""
    agent = request.headers.get("user-agent")
    return clean(agent, _CLIENT_CHARACTERS) if agent else None
