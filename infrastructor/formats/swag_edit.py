"""Edits of a SWAG proxy configuration, by span: authentication on, off or changed, another upstream, other names. Pure.

Each edit is proved before it is handed out: the text is read again, and nothing but what was meant has changed.
"""

import re
from collections.abc import Iterable, Iterator

from infrastructor.formats.nginx import Directive, Document, Edit, apply, indent_at, newline_of, read, shape
from infrastructor.formats.swag import PASSES, Auth, Kind, Location, describe, half_of

PROVIDERS = (Auth.LDAP, Auth.AUTHELIA, Auth.AUTHENTIK, Auth.TINYAUTH)
"""Those that come in halves."""
_BASIC = ("auth_basic", "auth_basic_user_file")
_FOLDER = "/config/nginx"
_REALM = "Restricted"
_SERVER_ANCHORS = ("include", "client_max_body_size", "server_name", "listen")


class CannotEdit(ValueError):
    """The text has no place for it, or says something that contradicts it."""


def set_auth(document: Document, auth: Auth | None, *, site: bool = False) -> str:
    """The text with this authentication on and every other off; None: all off.

    It is turned on in the locations that have lines for it, commented out or not; where none has, in the main one.
    With `site` only the server half, in the server that includes the subfolder configurations.
    """
    if document.faults:
        raise CannotEdit(f"Line {document.faults[0].line}: {document.faults[0].message}")
    edits: list[Edit] = []
    if site:
        for server in _subfolder_servers(document):
            edits += _server_half(document.text, server, auth, alone=False)
    else:
        for server in _servers(document):
            edits += _server_half(document.text, server, auth, alone=True)
            edits += _locations(document.text, tuple(server.all("location")), auth)
        edits += _locations(document.text, tuple(_loose(document)), auth)
    text = apply(document.text, edits)
    _prove(document, text, auth, site=site)
    return text


def set_upstream(
    document: Document, *, app: str | None = None, port: int | None = None, proto: str | None = None
) -> str:
    """The text with its main upstream moved: that of the first location that has one, wherever it is named again."""
    wanted = {"$upstream_app": app, "$upstream_port": None if port is None else str(port), "$upstream_proto": proto}
    main: dict[str, str] = {}
    sets = [one for one in _every(document.directives) if one.name == "set" and len(one.args) == 2]  # noqa: PLR2004
    for one in sets:
        if one.args[0] in wanted:
            main.setdefault(one.args[0], one.args[1])
    lost = [name for name, value in wanted.items() if value is not None and name not in main]
    if lost:
        raise CannotEdit(f"It has no 'set {lost[0]}'; its upstream is written in another way.")
    edits: list[Edit] = []
    for block in [one for one in _every(document.directives) if one.block is not None]:
        own = {one.args[0]: one for one in block.all("set") if len(one.args) == 2}  # noqa: PLR2004
        if own.get("$upstream_app") is None or own["$upstream_app"].args[1] != main["$upstream_app"]:
            continue
        for name, value in wanted.items():
            if value is not None and name in own and own[name].args[1] == main[name]:
                edits.append(Edit(own[name].start, own[name].end, f"set {name} {value};"))
    return apply(document.text, edits)


def set_names(document: Document, old: str, new: str) -> str:
    """The text with a server name `old.*` or `old.example.org` changed in its first label."""
    edits = []
    for one in _every(document.directives):
        if one.name == "server_name" and any(name.split(".")[0] == old for name in one.args):
            names = [new + name[len(old) :] if name.split(".")[0] == old else name for name in one.args]
            if all(re.fullmatch(r"[A-Za-z0-9.*_-]+", name) for name in names):
                edits.append(Edit(one.start, one.end, f"server_name {' '.join(names)};"))
    return apply(document.text, edits)


def new_text(kind: Kind, *, service: str, app: str, port: int | str, proto: str) -> str:
    """A configuration for a service that has no sample."""
    body = _LOCATION.format(app=app, port=port, proto=proto)
    if kind is Kind.SUBFOLDER:
        return _SUBFOLDER.format(service=service, body=body)
    inner = "".join(f"    {line}" if line.strip() else line for line in body.splitlines(keepends=True))
    return _SUBDOMAIN.format(service=service, body=inner)


# Our own words around the includes that SWAG's image provides.
_LOCATION = """\
    include /config/nginx/proxy.conf;
    include /config/nginx/resolver.conf;
    set $upstream_app {app};
    set $upstream_port {port};
    set $upstream_proto {proto};
    proxy_pass $upstream_proto://$upstream_app:$upstream_port;
"""
_SUBFOLDER = """\
# {service} as a folder of the main name; it must be told to serve below /{service}

location /{service} {{
    return 301 $scheme://$host/{service}/;
}}

location ^~ /{service}/ {{
{body}}}
"""
_SUBDOMAIN = """\
# {service} under a name of its own; the name must be known to your DNS

server {{
    listen 443 ssl;
    listen [::]:443 ssl;

    server_name {service}.*;

    include /config/nginx/ssl.conf;

    client_max_body_size 0;

    location / {{
{body}    }}
}}
"""


# --- where things are ----------------------------------------------------------------------------------


def _every(directives: Iterable[Directive]) -> Iterator[Directive]:
    for one in directives:
        if not one.off:
            yield one
            yield from one.walk()


def _servers(document: Document) -> Iterator[Directive]:
    return (one for one in document.directives if one.name == "server" and one.block is not None)


def _loose(document: Document) -> Iterator[Directive]:
    return (one for one in document.directives if one.name == "location" and one.block is not None)


def _subfolder_servers(document: Document) -> list[Directive]:
    found = [one for one in _servers(document) if any(map(includes_subfolders, one.all("include")))]
    if not found:
        raise CannotEdit("No server of the site configuration includes proxy-confs/*.subfolder.conf.")
    return found


def includes_subfolders(directive: Directive) -> bool:
    """Whether it is the include of the subfolder configurations."""
    return (
        directive.name == "include"
        and directive.args[-1:] != ()
        and directive.args[0].endswith("proxy-confs/*.subfolder.conf")
    )


def _nested(locations: Iterable[Directive]) -> Iterator[Directive]:
    for one in locations:
        yield one
        yield from _nested(one.all("location"))


# --- halves --------------------------------------------------------------------------------------------


def _server_half(text: str, server: Directive, auth: Auth | None, *, alone: bool) -> Iterator[Edit]:
    """`alone`: no other configuration needs the halves of other providers in this server."""
    present = False
    for one in server.block or ():
        half = half_of(one)
        if half is None or half[1] != "server":
            continue
        if half[0] is auth:
            if one.off and not present:
                yield _uncomment(text, one)
            present = True
        elif alone and not one.off:
            yield from _comment(text, one)
    if auth in PROVIDERS and not present:
        anchors = [one for one in server.block or () if not one.off and one.name in _SERVER_ANCHORS]
        at = anchors[-1].end if anchors else server.inside[0]
        yield _line_after(text, at, f"include {_FOLDER}/{auth}-server.conf;", blank=True)


def _locations(text: str, locations: tuple[Directive, ...], auth: Auth | None) -> Iterator[Edit]:
    every = list(_nested(locations))
    guarded = [one for one in every if any(_is_auth(inner) for inner in one.block or ())]
    if auth is not None and not guarded:
        passing = [one for one in every if any(inner.name in PASSES and not inner.off for inner in one.block or ())]
        guarded = [one for one in passing if one.args == ("/",)] or passing[:1]
        if locations and not guarded:
            raise CannotEdit("It has no location that hands requests on.")
    for one in every:
        yield from _location(text, one, auth if one in guarded else None)


def _is_auth(one: Directive) -> bool:
    half = half_of(one)
    return (half is not None and half[1] == "location") or one.name in _BASIC


def _location(text: str, location: Directive, auth: Auth | None) -> Iterator[Edit]:
    lines = [one for one in location.block or () if _is_auth(one)]
    if auth in PROVIDERS and any(location.all("auth_request")):
        raise CannotEdit(f"Line {location.line}: the location has an auth_request of its own.")
    seen: set[str] = set()
    for one in lines:
        half = half_of(one)
        wanted = half[0] is auth if half is not None else auth is Auth.BASIC
        key = one.name if half is None else half[0]
        turned_off = one.name == "auth_basic" and one.args == ("off",)
        if wanted and turned_off:
            if not one.off:
                yield from _comment(text, one)
        elif wanted:
            if one.off and key not in seen and not _again(lines, one):
                yield _uncomment(text, one)
            seen.add(key)
        elif not one.off and not turned_off:
            yield from _comment(text, one)
    missing = [line for key, line in _wanted(auth) if key not in seen]
    if missing:
        at = lines[-1].end if lines else location.inside[0]
        newline, indent = newline_of(text), indent_at(text, lines[-1].start if lines else location.start)
        inner = indent if lines else f"{indent}    "
        added = "".join(f"{newline}{inner}{line}" for line in missing)
        yield Edit(at, at, added if lines else f"{added}{newline}")


def _again(lines: list[Directive], one: Directive) -> bool:
    """Whether the same line also stands there for real."""
    return any(other.name == one.name and half_of(other) == half_of(one) and not other.off for other in lines)


def _wanted(auth: Auth | None) -> list[tuple[str, str]]:
    if auth is Auth.BASIC:
        return [
            ("auth_basic", f'auth_basic "{_REALM}";'),
            ("auth_basic_user_file", f"auth_basic_user_file {_FOLDER}/.htpasswd;"),
        ]
    return [(auth, f"include {_FOLDER}/{auth}-location.conf;")] if auth in PROVIDERS else []


# --- comments ------------------------------------------------------------------------------------------


def _uncomment(text: str, one: Directive) -> Edit:
    body = text[one.start + 1 : one.end]
    return Edit(one.start, one.start + 1 + len(body) - len(body.lstrip()), "")


def _comment(text: str, one: Directive) -> Iterator[Edit]:
    """Put it into a comment, and whatever else stands on its lines not."""
    yield Edit(one.start, one.start, "#")
    for match in re.finditer("\n", text[one.start : one.end]):
        at = one.start + match.end()
        yield Edit(at, at, "#")
    line_end = text.find("\n", one.end)
    rest = text[one.end : line_end if line_end >= 0 else len(text)].strip()
    if rest and not rest.startswith("#"):
        yield Edit(one.end, one.end, f"{newline_of(text)}{indent_at(text, one.start)}")


def _line_after(text: str, position: int, line: str, *, blank: bool) -> Edit:
    """A line of its own behind the line of a position, indented alike."""
    newline, indent = newline_of(text), indent_at(text, position)
    end = text.find("\n", position)
    line_end = len(text) if end < 0 else end - (1 if text[end - 1 : end] == "\r" else 0)
    # Behind a comment on that line, but not behind another directive on it.
    at = line_end if text[position:line_end].strip()[:1] in {"", "#"} else position
    return Edit(at, at, f"{newline if blank else ''}{newline}{indent}{line}")


# --- proof ---------------------------------------------------------------------------------------------


def _prove(before: Document, text: str, auth: Auth | None, *, site: bool) -> None:
    after = read(text)
    if after.faults:
        raise CannotEdit(f"The edit would break line {after.faults[0].line}: {after.faults[0].message}")
    if shape(_without_auth(before.directives)) != shape(_without_auth(after.directives)):
        raise CannotEdit("The edit would change more than the authentication.")
    if site:
        held = [half_of(one) for server in _subfolder_servers(after) for one in server.all("include")]
        if auth in PROVIDERS and (auth, "server") not in held:
            raise CannotEdit(f"The site configuration could not be given {auth}.")
        return
    found = describe(after)
    if auth is None and set(found.auth) - {Auth.CUSTOM}:
        raise CannotEdit(f"{found.auth[0]} could not be turned off.")
    if auth is not None and not any(_guards(location, auth) for location in found.locations):
        raise CannotEdit(f"{auth} could not be turned on.")


def _guards(location: Location, auth: Auth) -> bool:
    return location.auth == (auth,)


def _without_auth(directives: Iterable[Directive]) -> tuple[Directive, ...]:
    return tuple(
        Directive(
            name=one.name,
            args=one.args,
            start=one.start,
            end=one.end,
            line=one.line,
            block=None if one.block is None else _without_auth(one.block),
        )
        for one in directives
        if not one.off and half_of(one) is None and one.name not in _BASIC
    )
