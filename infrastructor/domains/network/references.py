"""Hosts that the environment of a container names. Pure; nothing else of a value is kept."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# A bare name counts only where the variable says that it is a place: DB_USER=postgres is none.
_PLACE = re.compile(
    r"(HOST|HOSTS|HOSTNAME|SERVER|SERVERS|ADDR|ADDRESS|URL|URLS|URI|ENDPOINT|ENDPOINTS|UPSTREAM|BACKEND|BROKER|BROKERS"
    r"|PEER|PEERS|TARGET|NODE|NODES|SEEDS|DSN|DB|DATABASE|REDIS|SMTP|LDAP|PROXY)$"
)
_SECRET = re.compile(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL|SALT|PRIVATE|COOKIE", re.IGNORECASE)
_HOST = r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])"
# scheme://user:secret@host:port — several hosts after commas, as MongoDB and Kafka write them. The user part may
# hold anything but a slash, also an @.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://(?:[^/\s]*@)?([^/?#\s\"'@]+)")
_HOST_PORT = re.compile(rf"({_HOST}):([0-9]{{1,5}})(?:/[^\s]*)?")
_GO_DSN = re.compile(r"@(?:tcp|udp)\(([^()\s]+)\)/")  # user:secret@tcp(host:port)/name
_KEYWORD = re.compile(r"(?:^|[;\s])(?:host|server|data source)\s*=\s*([^;,\s]+)", re.IGNORECASE)
_MOST = 40
_TOP_PORT = 65535


@dataclass(frozen=True, slots=True)
class Reference:
    """One variable that names a host."""

    variable: str
    host: str
    port: int | None

    @property
    def text(self) -> str:
        """`DB_HOST=db:5432`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.variable}={host}" + (f":{self.port}" if self.port is not None else "")


def references(environment: Iterable[str]) -> tuple[Reference, ...]:
    """The hosts that `NAME=value` lines name, at most 40 and each once."""
    found: dict[Reference, None] = {}
    for line in environment:
        name, separator, value = line.partition("=")
        if separator and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]{0,99}", name):
            for host, port in _places(name, value.strip().strip("\"'")):
                found[Reference(name, host, port)] = None
    return tuple(found)[:_MOST]


def _places(name: str, value: str) -> list[tuple[str, int | None]]:
    places = [place for match in _URL.finditer(value) for place in _authority(match[1])]
    places += [place for match in _GO_DSN.finditer(value) for place in _authority(match[1])]
    if places or "://" in value:
        return places
    if _SECRET.search(name):
        return []  # what stands there bare is the secret
    if match := _KEYWORD.search(value):
        return _authority(match[1])
    for part in re.split(r"[,;\s]+", value)[:20]:
        if match := _HOST_PORT.fullmatch(part):
            places += _authority(f"{match[1]}:{match[2]}")
        elif _PLACE.search(name.upper()) and re.fullmatch(_HOST, part):
            places += _authority(part)
    return places


def _authority(text: str) -> list[tuple[str, int | None]]:
    """`a:1,b:2` → both; what is no host or port is left out."""
    found: list[tuple[str, int | None]] = []
    for part in text.split(","):
        match = re.fullmatch(rf"({_HOST})(?::([0-9]{{1,5}}))?", part)
        if match is None or part.isdecimal() or part.lower() in {"true", "false", "none", "null", "yes", "no"}:
            continue
        port = int(match[2]) if match[2] else None
        if port is None or 0 < port <= _TOP_PORT:
            found.append((match[1].strip("[]").lower(), port))
    return found
