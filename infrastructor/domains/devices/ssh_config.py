"""Read an OpenSSH client configuration as data. Nothing in it is ever run.

Follows ssh_config(5) of OpenSSH 9: the first value found wins, `Host` takes patterns and negations, `Include` is
read where it stands. Only what says where a host is and how to log in is used; `Match`, `ProxyCommand` and the like
are reported as skipped.
"""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

Include = Callable[[str], Iterable[str]]
"""Pattern of an `Include` → texts of the files it means."""

_USED = frozenset({"hostname", "user", "port", "identityfile", "proxyjump", "proxycommand"})
_MAX_DEPTH = 8
_MAX_LINES = 20_000
_LINE = re.compile(r"^\s*([A-Za-z][A-Za-z0-9]*)\s*(?:=|\s)\s*(.*?)\s*$")


@dataclass(frozen=True, slots=True)
class Entry:
    """One concrete host with the values that hold for it."""

    name: str
    line: int
    hostname: str
    port: int | None
    user: str | None
    identity_file: str | None
    proxy_jump: str | None
    proxy_command: str | None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A line that was left out, and why."""

    line: int
    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Parsed:
    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]


@dataclass(slots=True)
class _Block:
    patterns: tuple[str, ...]
    line: int
    values: dict[str, str] = field(default_factory=dict)


def parse(text: str, include: Include = lambda pattern: ()) -> Parsed:
    """All concrete hosts of a configuration. Total: what cannot be understood is in `skipped`."""
    blocks = [_Block(("*",), 0)]
    skipped: list[Skipped] = []
    active: _Block | None = blocks[0]
    for number, line in _lines(text, include, 0):
        match = _LINE.match(line)
        if match is None:
            skipped.append(Skipped(number, line.strip(), "not a keyword and a value"))
            continue
        keyword, rest = match[1].lower(), match[2]
        words = _words(rest)
        if words is None:
            skipped.append(Skipped(number, line.strip(), "a quote is not closed"))
        elif keyword == "host":
            active = _Block(tuple(words), number)
            blocks.append(active)
        elif keyword == "match":
            active = _Block(("*",), number) if words == ["all"] else None
            if active is None:
                skipped.append(Skipped(number, line.strip(), "Match conditions are not evaluated, and never run"))
            else:
                blocks.append(active)
        elif active is not None and keyword in _USED and words:
            active.values.setdefault(keyword, rest if keyword == "proxycommand" else words[0])
    return Parsed(tuple(_entries(blocks, skipped).values()), tuple(skipped))


def _lines(text: str, include: Include, depth: int, outer: int | None = None) -> Iterator[tuple[int, str]]:
    """Lines with content, includes in place; an included line has the number of its Include."""
    for number, line in enumerate(text.splitlines()[:_MAX_LINES], 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line)
        if match and match[1].lower() == "include" and depth < _MAX_DEPTH:
            for pattern in _words(match[2]) or ():
                for included in include(pattern):
                    yield from _lines(included, include, depth + 1, outer or number)
            continue
        yield outer or number, line


def _entries(blocks: list[_Block], skipped: list[Skipped]) -> dict[str, Entry]:
    """The concrete names of all Host lines; patterns go to `skipped`."""
    entries: dict[str, Entry] = {}
    for block in blocks[1:]:
        for name in block.patterns:
            if name.startswith("!") or name in entries:
                continue
            if re.search(r"[*?]", name):
                if block.patterns != ("*",):
                    skipped.append(Skipped(block.line, f"Host {name}", "a pattern names no single host"))
                continue
            entries[name] = _entry(name, block.line, blocks)
    return entries


def _words(text: str) -> list[str] | None:
    try:
        return shlex.split(text, comments=True)
    except ValueError:
        return None


def _entry(name: str, line: int, blocks: list[_Block]) -> Entry:
    values: dict[str, str] = {}
    for block in blocks:
        if _applies(block.patterns, name):
            for key, value in block.values.items():
                values.setdefault(key, value)
    port = values.get("port", "")
    jump, command = values.get("proxyjump"), values.get("proxycommand")
    return Entry(
        name=name,
        line=line,
        hostname=values.get("hostname", name).replace("%h", name).replace("%%", "%"),
        port=int(port) if port.isdecimal() and 0 < int(port) < 1 << 16 else None,
        user=values.get("user"),
        identity_file=values.get("identityfile"),
        proxy_jump=None if jump is None or jump.lower() == "none" else jump,
        proxy_command=None if command is None or command.lower() == "none" else command,
    )


def _applies(patterns: tuple[str, ...], name: str) -> bool:
    if any(pattern.startswith("!") and fnmatchcase(name, pattern[1:]) for pattern in patterns):
        return False
    return any(fnmatchcase(name, pattern) for pattern in patterns if not pattern.startswith("!"))
