"""What `docker stats` and `podman stats` print, for devices whose cgroups cannot be read. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from infrastructor.errors import ParseError
from infrastructor.sanitize import clean

_SIZE = re.compile(r"^\s*([0-9.]+)\s*([kKMGTPE]?)(i?)B\s*$")
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}


@dataclass(frozen=True, slots=True)
class EngineUse:
    """One container by its engine's own account; sizes are as rounded as they were printed."""

    name: str
    cpu_percent: float | None
    memory_bytes: int | None
    memory_limit_bytes: int | None
    pids: int | None
    received_bytes: int | None
    sent_bytes: int | None
    read_bytes: int | None
    written_bytes: int | None


def from_stats(body: bytes) -> Mapping[str, EngineUse]:
    """One JSON object a line (Docker) or one array (Podman), by the first 12 characters of the id."""
    try:
        text = body.strip()
        items = from_json(text) if text.startswith(b"[") else [from_json(line) for line in text.splitlines()]
        found = {}
        for item in items:
            fields = {key.lower().replace("_", ""): value for key, value in item.items()}
            found[str(fields["id"])[:12]] = _use(fields)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ParseError(f"Not what stats prints: {clean(body[:200].decode('utf-8', 'replace'))!r}") from error
    return found


def _use(fields: Mapping[str, Any]) -> EngineUse:
    memory, limit = _pair(fields.get("memusage"))
    received, sent = _pair(fields.get("netio"))
    read, written = _pair(fields.get("blockio"))
    pids = str(fields.get("pids") or "")
    return EngineUse(
        name=str(fields["name"]),
        cpu_percent=_percent(fields.get("cpuperc") or fields.get("cpupercent")),
        memory_bytes=memory,
        memory_limit_bytes=limit,
        pids=int(pids) if pids.isdecimal() else None,
        received_bytes=received,
        sent_bytes=sent,
        read_bytes=read,
        written_bytes=written,
    )


def _pair(text: Any) -> tuple[int | None, int | None]:
    first, _, second = str(text or "").partition("/")
    return _size(first), _size(second)


def _size(text: str) -> int | None:
    """`316KiB`, `33.55MB`; `--` and nothing are unknown."""
    match = _SIZE.match(text)
    if match is None or match[1].count(".") > 1 or match[1] == ".":
        return None
    return int(float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].upper()])


def _percent(text: Any) -> float | None:
    try:
        return round(float(str(text).rstrip("%")), 1)
    except ValueError:
        return None
