"""Differences of nginx and Apache configuration, in their terms."""

import re

from infrastructor.formats.tree_changes import MISSING, shortened, shown
from infrastructor.formats.trees import Tree

_AUTH = re.compile(
    r"auth_basic|auth_request|satisfy|allow$|deny$|ssl_verify_client|auth_jwt|\bAuth[A-Z]\w*|\bRequire\b|authelia|authentik|tinyauth|ldap",
    re.IGNORECASE,
)
_UPSTREAM = re.compile(
    r"\$upstream_|(?:proxy|fastcgi|grpc|uwsgi|scgi)_pass|upstream |ProxyPass|Balancer|server_?name|ServerAlias",
    re.IGNORECASE,
)
_PORTS = re.compile(r"(?:^|\.)listen$", re.IGNORECASE)


def about(path: tuple[str, ...], gone: Tree, come: Tree) -> str:
    """The class of a difference; what an include names counts too."""
    name = path[-1] if path else ""
    text = " ".join([name, *(shown(value) for value in (gone, come) if value is not MISSING)])
    if _PORTS.search(name.lower()):
        return "ports"
    if _AUTH.search(name) or (name.lower().startswith("include") and _AUTH.search(text)):
        return "auth"
    return "upstream" if any(_UPSTREAM.search(part) for part in path[-2:]) else "other"


def words(path: tuple[str, ...], gone: Tree, come: Tree) -> str:
    """`server immich.* location /: proxy_pass http://a → http://b`."""
    *blocks, name = path or ("the file",)
    where = f"{shortened(' '.join(blocks))}: " if blocks else ""
    if isinstance(gone, dict) or isinstance(come, dict):
        return f"{where}{name} {'added' if gone is MISSING else 'removed'}"
    if isinstance(gone, list) and isinstance(come, list):
        return f"{where}{name}: order changed"
    if gone is MISSING:
        return f"{where}{name} {_arguments(come)} added".replace("  ", " ")
    if come is MISSING:
        return f"{where}{name} {_arguments(gone)} removed".replace("  ", " ")
    return f"{where}{name} {_arguments(gone)} → {_arguments(come)}"


def _arguments(value: Tree) -> str:
    if isinstance(value, list):
        return ", ".join(shown(item) for item in value)
    return "" if value == "" else shown(value)
