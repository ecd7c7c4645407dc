"""nginx and Apache configuration as trees: blocks by name and arguments, directives by name.

    {"server immich.*": {"listen": ["443 ssl"], "location /": {"set $upstream_app": ["immich"], "proxy_pass": [...]}}}

Directives of one name are one list, in their order. Total: what cannot be read is taken for text.
"""

import re
from collections.abc import Iterable
from typing import Any

from infrastructor.formats import nginx

_DEEPEST = 60
_VARIABLES = frozenset({"set", "fastcgi_param", "proxy_set_header", "add_header", "map", "env"})
_SERVER = "server"


def nginx_tree(text: str) -> dict[str, Any]:
    """Virtual servers are named by their `server_name`, or else by what they listen on."""
    return _tree(nginx.read(text).directives)


def nginx_words(text: str) -> list[str]:
    """What nginx reads, in its order: the order of locations and rewrites counts, as do Lua blocks and odd ends."""
    return [
        nginx.value_of(text[one.start : one.end]) if one.kind == "word" else text[one.start : one.end]
        for one in nginx.tokens(text)
        if one.kind not in {"space", "comment"}
    ]


def _tree(directives: Iterable[nginx.Directive]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for directive in directives:
        if directive.off:
            continue
        if directive.block is None:
            _add(tree, [directive.name, *directive.args])
            continue
        block = _tree(directive.block)
        name = " ".join([directive.name, *directive.args])
        if name == _SERVER:
            names = block.get("server_name") or block.get("listen") or [""]
            name = f"{_SERVER} {names[0]}".strip()
        _block(tree, name, block)
    return tree


def _block(parent: dict[str, Any], name: str, block: dict[str, Any]) -> None:
    number, unique = 1, name
    while unique in parent:
        number += 1
        unique = f"{name} #{number}"
    parent[unique] = block


def _add(block: dict[str, Any], words: list[str]) -> None:
    if not words:
        return
    own = 2 if words[0] in _VARIABLES and len(words) > 2 else 1  # noqa: PLR2004 - `set $name value` is about $name
    name, value = " ".join(words[:own]), " ".join(words[own:])
    values = block.setdefault(name, [])
    if isinstance(values, list):
        values.append(value)
    else:  # a block of that name stands there
        block.setdefault(f"{name};", []).append(value)


def apache_words(text: str) -> list[list[str]]:
    """The same of Apache: the words of each line that counts."""
    lines = (line.split() for line in re.sub(r"\\\r?\n", " ", text).splitlines())
    return [words for words in lines if words and not words[0].startswith("#")]


_OPENING = re.compile(r"<([A-Za-z]\w*)\s*([^>]*)>?\s*")
_CLOSING = re.compile(r"</\s*([A-Za-z]\w*)\s*>\s*")
_APACHE_NAMED = frozenset({"setenv", "header", "requestheader", "rewritecond", "define", "proxypass"})


def apache_tree(text: str) -> dict[str, Any]:
    """Sections by name and arguments, directives by name; lines that end in a backslash go on."""
    root: dict[str, Any] = {}
    stack: list[tuple[str, dict[str, Any]]] = [("", root)]
    for raw in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if _CLOSING.fullmatch(line):
            if len(stack) > 1:
                name, block = stack.pop()
                _block(stack[-1][1], name, block)
        elif (opening := _OPENING.fullmatch(line)) is not None and len(stack) < _DEEPEST:
            stack.append((f"{opening[1]} {opening[2]}".strip(), {}))
        else:
            words = line.split()
            own = 2 if words[0].lower() in _APACHE_NAMED and len(words) > 2 else 1  # noqa: PLR2004 - as for nginx
            block = stack[-1][1]
            name = " ".join(words[:own])
            values = block.setdefault(name, [])
            if isinstance(values, list):
                values.append(" ".join(words[own:]))
    while len(stack) > 1:
        name, block = stack.pop()
        _block(stack[-1][1], name, block)
    return root
