"""What every request passes first: the Host and Origin it claims, and the headers every answer carries.

Plain ASGI, a few microseconds each. A browser on another site can reach a loopback port under a name of its
own (DNS rebinding); it cannot forge the Host and Origin it sends.
"""

from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem
from infrastructor.errors import PermissionDenied
from infrastructor.sanitize import clean
from infrastructor.settings import Settings

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_ANYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to

_PAGE_OF = {"ws": "http", "wss": "https"}

_SECURITY = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]


def hosts_of(settings: Settings) -> tuple[str, ...]:
    """The Host names we answer to: loopback, the bound address, and those the settings add."""
    bound = () if settings.host in _ANYWHERE else (settings.host,)
    return tuple(dict.fromkeys(host.lower() for host in (*_LOOPBACK, *bound, *settings.allowed_hosts)))


class SecurityHeaders:
    """Adds the headers that keep browsers from doing anything with an answer but read it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_SECURITY]
            await send(message)

        await self.app(scope, receive, send_with_headers)


class HostOriginGuard:
    """Refuses requests for another host, or from a page of another origin, with 403."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str], origins: Sequence[str]) -> None:
        self.app = app
        self.hosts = frozenset(hosts)
        self.origins = frozenset(origin.rstrip("/").lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        claimed = [value for name, value in scope["headers"] if name in {b"host", b"origin"}]
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        host = hosts[0] if len(hosts) == 1 else ""
        refusal = None
        if _hostname(host) not in self.hosts and _hostname(host) != _reached(scope):
            refusal = PermissionDenied(
                f"This server does not answer to the host {clean(host, 200)!r}.",
                hint="Call it by a loopback name, or add the name to INFRASTRUCTOR_ALLOWED_HOSTS.",
            )
        elif len(claimed) > 1 and not self._origin_allowed(scope, host):
            refusal = PermissionDenied(
                "A page of this origin may not call this server.",
                hint="Add the origin to INFRASTRUCTOR_ALLOWED_ORIGINS.",
            )
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await problem(refusal)(scope, receive, send)

    def _origin_allowed(self, scope: Scope, host: str) -> bool:
        scheme = scope.get("scheme", "http")
        own = f"{_PAGE_OF.get(scheme, scheme)}://{host}".lower()
        sent = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"origin"]
        return all(origin == own or origin in self.origins for origin in sent)


def _reached(scope: Scope) -> str | None:
    """The address of ours that the connection came in on: no page can make a browser call that a name of its own."""
    server = scope.get("server")
    return str(server[0]).lower() if server and server[0] else None


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
