"""Bearer token → caller. Routes ask for a caller themselves; nothing is decided on the text of a path."""

from collections.abc import Awaitable, Callable

from fastapi import Request

from infrastructor.app import Application
from infrastructor.errors import Unauthenticated
from infrastructor.ports import Caller, Interface
from infrastructor.sanitize import clean

Authenticate = Callable[[Request], Awaitable[Caller]]

_CLIENT_CHARACTERS = 200


def authenticator(application: Application) -> Authenticate:
    """A function that names the caller of a request or raises `Unauthenticated`, audited."""

    async def authenticate(request: Request) -> Caller:
        client = _client(request)
        try:
            token = await application.tokens.authenticate(_secret(request))
        except Unauthenticated as error:
            await application.service.refuse_authentication(Interface.REST, client, error)
            raise
        return Caller(principal=token.name, role=token.role, interface=Interface.REST, client=client)

    return authenticate


def _secret(request: Request) -> str | None:
    sent = request.headers.getlist("authorization")
    if len(sent) != 1:
        return None
    scheme, _, secret = sent[0].partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _client(request: Request) -> str | None:
    agent = request.headers.get("user-agent")
    return clean(agent, _CLIENT_CHARACTERS) if agent else None
