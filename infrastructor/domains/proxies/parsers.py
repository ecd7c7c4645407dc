"""Parsers of what the proxy commands print. Pure, and total: they raise nothing but `ParseError`."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from pydantic_core import from_json

from infrastructor.domains.configs.judged_change import Said
from infrastructor.domains.network.addresses import big_endian, from_hex
from infrastructor.errors import ParseError
from infrastructor.formats.nginx import decode
from infrastructor.ports.ssh import CommandOutput
from infrastructor.sanitize import clean

_STAT = re.compile(r"(\d{1,18}) (-?\d{1,18}) (-?\d{1,18}) (\d{1,20}) ([0-9a-f]{1,8}) (\d{1,18}) (\d{1,18}) (.+)")
_MESSAGE = re.compile(r"^(?:\S+ \S+ )?(?:nginx: )?\[(?P<level>\w+)\]\s+(?:\d+#\d+: )?(?:\*\d+ )?(?P<text>.*)$")
_PLACE = re.compile(r" in (?P<path>/[^\s:]+):(?P<line>\d+)$")
_CONFLICT = re.compile(r'conflicting server name "(?P<name>[^"]*)"')
_NOT_THERE = re.compile(r"executable file not found|OCI runtime|crun: ", re.IGNORECASE)
_LINES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """A file of SWAG's nginx folder, by its path there. `content` None: too large to be read. `mode` is st_mode."""

    path: str
    content: bytes | None = field(repr=False)
    size_bytes: int
    modified_s: int
    changed_s: int
    inode: int
    mode: int
    uid: int
    gid: int
    link: bool = False

    @property
    def permissions(self) -> int:
        return self.mode & 0o7777

    @property
    def sha256(self) -> str:
        return sha256(self.content or b"").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFiles:
    """All of them. `beside` are names in the nginx folder itself; `denied` paths that the login may not read."""

    missing: bool = False
    files: tuple[ConfigFile, ...] = ()
    beside: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    stable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxMessage:
    """One thing nginx said of its configuration. `path` is inside the container."""

    level: str
    text: str
    path: str | None = None
    line: int | None = None

    @property
    def conflicting_name(self) -> str | None:
        """The server name that two servers have, one of which never sees a request."""
        match = _CONFLICT.search(self.text)
        return match["name"] if match else None

    @property
    def sentence(self) -> str:
        place = f" ({self.path}, line {self.line})" if self.path else ""
        return f"{self.text}{place}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxTest:
    """The judgement. `passed` None: the container has no nginx to ask, or it did not come to it."""

    passed: bool | None
    messages: tuple[NginxMessage, ...] = ()

    @property
    def errors(self) -> tuple[NginxMessage, ...]:
        return tuple(one for one in self.messages if one.level in {"emerg", "alert", "crit", "error", "engine"})

    @property
    def warnings(self) -> tuple[NginxMessage, ...]:
        return tuple(one for one in self.messages if one.level in {"warn", "notice"})


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening port in the network of a process. `port` None: that network may not be looked at."""

    pid: int
    port: int | None
    loopback: bool = False


def parse_folder(body: bytes) -> str | None:
    """The source of what is mounted at /config, of the mounts that inspect tells; None when nothing is."""
    try:
        mounts = from_json(body) or []
        found = [str(mount["Source"]) for mount in mounts if mount["Destination"] == "/config"]
    except (ValueError, TypeError, KeyError) as error:
        raise ParseError(f"Not a list of mounts: {clean(decode(body), 200)!r}") from error
    return found[0] if found and found[0].startswith("/") else None


def parse_files(output: bytes, *, missing: bool) -> ConfigFiles:
    """List, contents, list again."""
    if missing:
        return ConfigFiles(missing=True)
    stats: list[tuple[str, ...]] = []
    large: list[tuple[str, ...]] = []
    beside: set[str] = set()
    denied: list[str] = []
    links: set[str] = set()
    rest = output
    while True:
        raw, newline, rest = rest.partition(b"\n")
        word, _, value = decode(raw).partition(" ")
        if word in {"file", "large"} and (match := _STAT.fullmatch(value)):
            (stats if word == "file" else large).append(match.groups())
        elif word == "beside":
            beside.add(value)
        elif word == "link":
            links.add(value)
        elif word == "denied":
            denied.append(clean(value, 300))
        elif word == "files" and value == str(len(stats)):
            break
        elif not newline or word:
            raise ParseError(f"Not a list of proxy configurations: {clean(decode(raw), 200)!r}")
    contents, position = [], 0
    for stat in stats:
        contents.append(rest[position : position + int(stat[0])])
        position += int(stat[0])
    tail = decode(rest[position:]).splitlines()
    again = [match.groups() for line in tail if (match := _STAT.fullmatch(line))]
    if tail[-1:] != ["end"]:
        raise ParseError("The list of proxy configurations has no end.")
    read = [_file(stat, content, links) for stat, content in zip(stats, contents, strict=True)]
    return ConfigFiles(
        files=(*read, *(_file(stat, None, links) for stat in large)),
        beside=tuple(sorted(beside)),
        denied=tuple(denied),
        stable=again == stats,
    )


def _file(stat: tuple[str, ...], content: bytes | None, links: Collection[str]) -> ConfigFile:
    size, modified, changed, inode, mode, uid, gid, path = stat
    return ConfigFile(
        path=path,
        content=content,
        size_bytes=int(size),
        modified_s=int(modified),
        changed_s=int(changed),
        inode=int(inode),
        mode=int(mode, 16),
        uid=int(uid),
        gid=int(gid),
        link=path in links,
    )


def parse_test(output: CommandOutput) -> NginxTest:
    """What `nginx -t` or `nginx -s` ended with and said. It says everything to stderr."""
    lines = f"{output.error_text}\n{output.text}".splitlines()
    messages = tuple(_messages(lines))
    if output.exit_status in {0, 1} and (output.exit_status == 0 or any(_MESSAGE.match(line) for line in lines)):
        return NginxTest(passed=output.exit_status == 0, messages=messages)
    said = next((line for line in lines if line.strip()), "nothing")
    missing = output.exit_status in {126, 127} and _NOT_THERE.search(said)
    text = "it has no nginx" if missing else said
    return NginxTest(passed=None, messages=(NginxMessage(level="engine", text=clean(text, 300)),))


def parse_said(said: Said | None) -> NginxTest:
    """The same of what another command says of nginx."""
    text = "" if said is None else said.text
    return parse_test(CommandOutput(exit_status=1 if said is None else said.status, stdout=text.encode()))


def _messages(lines: Iterable[str]) -> Iterable[NginxMessage]:
    for line in list(lines)[:_LINES]:
        match = _MESSAGE.match(line.strip())
        if match is None or match["level"] not in {"emerg", "alert", "crit", "error", "warn"}:
            continue
        place = _PLACE.search(match["text"])
        text = match["text"][: place.start()] if place else match["text"]
        yield NginxMessage(
            level=match["level"],
            text=clean(text, 300),
            path=clean(place["path"], 300) if place else None,
            line=int(place["line"]) if place and len(place["line"]) < 10 else None,  # noqa: PLR2004
        )


def parse_listeners(text: str) -> tuple[Listener, ...]:
    """Lines `pid address port` as the kernel writes them: hexadecimal, in the byte order that the first line tells."""
    found: list[Listener] = []
    big = False
    for line in text.splitlines():
        if line.startswith("order "):
            big = big_endian(line.removeprefix("order "))
            continue
        try:
            pid, address, port = line.split(" ")
            if port == "?":
                found.append(Listener(int(pid), None))
            elif port != "-":
                found.append(Listener(int(pid), int(port, 16), from_hex(address, big=big).is_loopback))
        except ValueError as error:
            raise ParseError(f"Not a listening socket: {clean(line, 200)!r}") from error
    return tuple(dict.fromkeys(found))
