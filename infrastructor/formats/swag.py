"""What a SWAG proxy configuration says: names, locations, upstreams, authentication, version. Pure.

SWAG is LinuxServer's nginx image. Its samples are `<service>.subdomain.conf.sample` (whole servers) and
`<service>.subfolder.conf.sample` (locations for the server of the site configuration); a copy without `.sample` counts.
Authentication comes in halves that belong together: `include …/authelia-server.conf` in the server and
`include …/authelia-location.conf` in each location it guards.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from infrastructor.formats.nginx import Directive, Document

_FILE = re.compile(r"(?P<service>[^/]+)\.(?P<kind>subdomain|subfolder)\.conf(?P<state>\.sample|\.disabled)?")
_VERSION = re.compile(r"\A\ufeff?## Version (\d{4}/\d\d/\d\d)")
_HALF = re.compile(r"(?:^|/)(ldap|authelia|authentik|tinyauth)-(server|location)\.conf$")
_VARIABLE = re.compile(r"\$\{?([A-Za-z0-9_]+)\}?")
_TARGET = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+.-]*)://)?(?P<host>\[[^\]]*\]|[^/:\[\]]*)(?::(?P<port>[^/]*))?(?:/.*)?"
)
_PORTS = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}
_HIGHEST_PORT = 65535
PASSES = ("proxy_pass", "grpc_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass")
_HEADERS = ("proxy_set_header", "add_header", "proxy_hide_header", "more_set_headers", "grpc_set_header")
_CERTIFICATE = ("ssl_certificate",)


class Kind(StrEnum):
    """How a service is reached: as a name of its own, or as a path of the main name."""

    SUBDOMAIN = "subdomain"
    SUBFOLDER = "subfolder"


class State(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"
    SAMPLE = "sample"


class Auth(StrEnum):
    """Who asks visitors for a login. CUSTOM is an auth_request of somebody's own."""

    LDAP = "ldap"
    AUTHELIA = "authelia"
    AUTHENTIK = "authentik"
    TINYAUTH = "tinyauth"
    BASIC = "basic"
    CUSTOM = "custom"


@dataclass(frozen=True, slots=True)
class FileName:
    """`sonarr.subdomain.conf.sample` in its parts."""

    service: str
    kind: Kind
    state: State

    @property
    def base(self) -> str:
        """The name of the file that counts."""
        return f"{self.service}.{self.kind.value}.conf"

    @property
    def full(self) -> str:
        """The name of the file."""
        return self.named(self.state)

    def named(self, state: State) -> str:
        """The name of the file in this state."""
        return self.base if state is State.ENABLED else f"{self.base}.{state.value}"


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where requests go. None is what only a request decides, as a port taken from the name that was asked for."""

    scheme: str | None
    host: str | None
    port: int | None
    line: int
    written: str

    @property
    def text(self) -> str:
        """`http://sonarr:8989`; a question mark stands for what is not known."""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        return f"{self.scheme or '?'}://{host or '?'}:{self.port or '?'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """One location. `auth` counts what it inherits from its server; `halves` are the includes it has itself."""

    match: str
    line: int
    upstreams: tuple[Upstream, ...]
    auth: tuple[Auth, ...]
    halves: tuple[Auth, ...]
    websockets: bool
    headers: tuple[tuple[str, str, str], ...]
    broken_basic: bool
    answers_itself: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One server. `halves` are the providers whose server half it includes."""

    names: tuple[str, ...]
    listens: tuple[str, ...]
    line: int
    certificate: bool
    halves: tuple[Auth, ...]
    locations: tuple[Location, ...]
    includes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """One file. A subfolder's locations stand in a server without names."""

    version: str | None
    servers: tuple[Server, ...]
    includes: tuple[str, ...]

    @property
    def locations(self) -> Iterator[Location]:
        for server in self.servers:
            yield from server.locations

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """Each host and port once, in order."""
        found: dict[str, Upstream] = {}
        for location in self.locations:
            for upstream in location.upstreams:
                found.setdefault(upstream.text, upstream)
        return tuple(found.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for server in self.servers for name in server.names))

    @property
    def auth(self) -> tuple[Auth, ...]:
        """Every kind that guards something in it."""
        return tuple(dict.fromkeys(auth for location in self.locations for auth in location.auth))

    @property
    def open_locations(self) -> tuple[Location, ...]:
        """Those that hand requests on without asking for a login."""
        return tuple(location for location in self.locations if location.upstreams and not location.auth)


def file_name(name: str) -> FileName | None:
    """The parts of a file's name; None when SWAG loads no such file and offers none."""
    match = _FILE.fullmatch(name)
    if match is None:
        return None
    state = State(match["state"][1:]) if match["state"] else State.ENABLED
    return FileName(match["service"], Kind(match["kind"]), state)


def version_of(text: str) -> str | None:
    """The date in the first line, `2025/07/18`."""
    match = _VERSION.match(text)
    return match[1] if match else None


def describe(document: Document) -> Proxy:
    """What a file says."""
    pools = {
        directive.args[0]: tuple(server.args[0] for server in directive.all("server") if server.args)
        for directive in document.directives
        if directive.name == "upstream" and directive.args and not directive.off
    }
    outside = [directive for directive in document.directives if not directive.off]
    servers = [_server(directive, pools) for directive in outside if directive.name == "server"]
    loose = [directive for directive in outside if directive.name == "location"]
    if loose:
        found = tuple(location for one in loose for location in _locations(one, _Scope({}, (), False, False), pools))
        servers.append(
            Server(
                names=(),
                listens=(),
                line=loose[0].line,
                certificate=True,
                halves=_halves(outside, "server"),
                locations=found,
                includes=(),
            )
        )
    everywhere = [directive for one in outside for directive in (one, *one.walk())]
    return Proxy(
        version=version_of(document.text),
        servers=tuple(servers),
        includes=tuple(dict.fromkeys(one.args[0] for one in everywhere if one.name == "include" and one.args)),
    )


def half_of(directive: Directive) -> tuple[Auth, str] | None:
    """Which half of which provider an include is: `(Auth.LDAP, "server")`."""
    if directive.name != "include" or len(directive.args) != 1:
        return None
    match = _HALF.search(directive.args[0])
    return (Auth(match[1]), match[2]) if match else None


# --- one server ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a block passes on to those inside it."""

    variables: Mapping[str, str]
    auth: tuple[Auth, ...]
    websockets: bool
    passwords: bool  # auth_basic_user_file


def _server(block: Directive, pools: Mapping[str, tuple[str, ...]]) -> Server:
    scope = _enter(block, _Scope({}, (), False, False))
    includes = tuple(one.args[0] for one in block.all("include") if one.args)
    locations = [found for one in block.all("location") for found in _locations(one, scope, pools)]
    if any(_passes(block)):
        locations.append(_location("(server)", block, scope, pools))
    return Server(
        names=tuple(name for one in block.all("server_name") for name in one.args),
        listens=tuple(" ".join(one.args) for one in block.all("listen")),
        line=block.line,
        certificate=any(block.all(*_CERTIFICATE)) or any(path.endswith("ssl.conf") for path in includes),
        halves=_halves(block.block or (), "server"),
        locations=tuple(locations),
        includes=includes,
    )


def _locations(block: Directive, outer: _Scope, pools: Mapping[str, tuple[str, ...]]) -> Iterator[Location]:
    """A location and those nested in it."""
    scope = _enter(block, outer)
    yield _location(" ".join(block.args), block, scope, pools)
    for inner in block.all("location"):
        yield from _locations(inner, scope, pools)


def _location(match: str, block: Directive, scope: _Scope, pools: Mapping[str, tuple[str, ...]]) -> Location:
    basic = _basic(block)
    return Location(
        match=match,
        line=block.line,
        upstreams=tuple(_upstreams(block, scope.variables, pools)),
        auth=scope.auth,
        halves=_halves(block.block or (), "location"),
        websockets=scope.websockets,
        headers=tuple(
            (one.name, one.args[0], " ".join(one.args[1:])) for one in _own(block) if one.name in _HEADERS and one.args
        ),
        broken_basic=basic is True and not scope.passwords,
        answers_itself=any(one.name in {"return", "deny", "internal"} for one in _own(block)),
    )


def _enter(block: Directive, outer: _Scope) -> _Scope:
    """What holds inside a block: its own word goes before what it inherits."""
    variables = dict(outer.variables)
    websockets = outer.websockets
    for one in _own(block):
        if one.name == "set" and len(one.args) == 2:  # noqa: PLR2004 - a name and a value
            variables[one.args[0].lstrip("$")] = _filled(one.args[1], variables) or one.args[1]
        elif (one.name == "include" and one.args and re.search(r"(^|/)proxy\.conf$", one.args[0])) or (
            one.name == "proxy_set_header" and one.args[:1] and one.args[0].lower() == "upgrade"
        ):
            websockets = True
    passwords = outer.passwords or any(block.all("auth_basic_user_file"))
    asked: list[Auth] = [auth for auth in outer.auth if auth is not Auth.BASIC]
    requests = list(block.all("auth_request"))
    halves = list(_halves(block.block or (), "location"))
    if requests or halves:
        asked = [Auth.CUSTOM] if requests and requests[0].args != ("off",) else []
        asked = halves or asked
    basic = _basic(block)
    inherited = basic is None and Auth.BASIC in outer.auth
    if (basic is True and passwords) or inherited:
        asked.append(Auth.BASIC)
    return _Scope(variables, tuple(dict.fromkeys(asked)), websockets, passwords)


def _basic(block: Directive) -> bool | None:
    """Whether it asks for a password itself; None when it does not say."""
    said = next(block.all("auth_basic"), None)
    return None if said is None or not said.args else said.args[0] != "off"


def _halves(directives: Iterable[Directive], side: str) -> tuple[Auth, ...]:
    found = [half_of(one) for one in directives if not one.off]
    return tuple(dict.fromkeys(half[0] for half in found if half is not None and half[1] == side))


def _own(block: Directive) -> Iterator[Directive]:
    """What is in a block and in the conditions of it, but not in its locations."""
    for one in block.block or ():
        if not one.off and one.name != "location":
            yield one
            if one.name in {"if", "limit_except"}:
                yield from _own(one)


def _passes(block: Directive) -> Iterator[Directive]:
    return (one for one in _own(block) if one.name in PASSES and one.args)


# --- upstreams -----------------------------------------------------------------------------------------


def _upstreams(
    block: Directive, variables: Mapping[str, str], pools: Mapping[str, tuple[str, ...]]
) -> Iterator[Upstream]:
    for one in _passes(block):
        written = one.args[0]
        scheme = "http" if one.name == "proxy_pass" else one.name.removesuffix("_pass")
        target = _parts(_VARIABLE.sub(lambda match: variables.get(match[1], match[0]), written))
        members = pools.get(target[1] or "", ())
        for member in members or (None,):
            host, port = target[1:] if member is None else _parts(member)[1:]
            protocol = target[0] or scheme
            unix = host == "unix"
            yield Upstream(
                scheme=None if "$" in protocol else protocol,
                host=None if host is None or "$" in host or unix else host.strip("[]"),
                port=None if unix else _port(port, protocol),
                line=one.line,
                written=written,
            )


def _parts(text: str) -> tuple[str | None, str | None, str | None]:
    """Scheme, host and port of `http://sonarr:8989/path`."""
    match = _TARGET.fullmatch(text)
    return (None, None, None) if match is None else (match["scheme"], match["host"] or None, match["port"])


def _port(text: str | None, scheme: str) -> int | None:
    if text is None or text == "":
        return _PORTS.get(scheme)
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else 0  # noqa: PLR2004
    return number if 0 < number <= _HIGHEST_PORT else None


def _filled(text: str, variables: Mapping[str, str]) -> str | None:
    """The text with its variables replaced; None when one of them is not known."""
    if any(name not in variables for name in _VARIABLE.findall(text)):
        return None
    return _VARIABLE.sub(lambda match: variables[match[1]], text)
