"""One line of a text log: who wrote it, how bad it is, what it says. Pure.

Seen: rsyslog 8 (RFC 3164 and ISO times), BusyBox syslogd and logread, OpenWrt logread, nginx, dpkg.
"""

import re
from dataclasses import dataclass

from infrastructor.domains.logs.models import Priority

_WHEN = (
    r"(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"  # RFC 3164
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4})"  # OpenWrt
)
_LEVEL = r"(?:kern|user|mail|daemon|auth|syslog|lpr|news|uucp|cron|authpriv|ftp|local\d)\.[a-z]+"
_LINE = re.compile(
    rf"^{_WHEN} (?:(?!{_LEVEL} )(?P<host>[A-Za-z0-9][\w.:-]*) )?(?:(?P<level>{_LEVEL}) )?"
    r"(?P<process>[\w./()@-]{1,64}(?:\[\d+\])?): ?(?P<text>.*)$",
    re.DOTALL,
)
_NAMES = {"error": "err", "warn": "warning", "panic": "emerg", "critical": "crit"}
_NGINX = re.compile(r"^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(emerg|alert|crit|error|warn|notice|info|debug)\] ")  # nginx


@dataclass(frozen=True, slots=True)
class Parsed:
    process: str | None
    priority: Priority | None
    message: str


def split(line: str) -> Parsed:
    """The parts of a syslog line; a line of another form is all message."""
    match = _LINE.match(line)
    if match is not None:
        return Parsed(match["process"], level((match["level"] or "").rpartition(".")[2]), match["text"])
    nginx = _NGINX.match(line)
    return Parsed(None, level(nginx[1]) if nginx else None, line)


def level(name: str | None) -> Priority | None:
    """A level by any of its names."""
    name = _NAMES.get(name or "", name or "")
    return Priority(name) if name in Priority.__members__.values() else None
