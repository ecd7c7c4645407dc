"""What container engines print when something happens: one JSON object a line, of Docker's API and CLI or Podman's.

Seen: Docker 20.10 and 28.2, whose API and CLI say the same; Podman 4.3, whose API imitates Docker's and whose CLI has
fields of its own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infrastructor.domains.containers.commands import engine_of, needs_sudo
from infrastructor.errors import ParseError
from infrastructor.ports.ssh import Capabilities, CommandLine, EngineCall
from infrastructor.sanitize import clean

FILTERS = "filters=%7B%22type%22%3A%5B%22container%22%5D%7D"
STACK = "com.docker.compose.project"
LONGEST = 300
HEALTH = "health_status"
_PODMAN_WORDS = {"died": "die", "remove": "destroy"}
_SECOND = 10**9
_LAST_SECOND = 253_402_300_799  # 9999-12-31


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineEvent:
    """One event of one container. `time_ns` is the engine's clock, since 1970."""

    container_id: str
    action: str  # in Docker's words, without what follows a colon
    time_ns: int
    name: str
    image: str | None = None
    stack: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    health: str | None = None
    old_name: str | None = None

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.time_ns / _SECOND, UTC)


def api_call(since_s: int | None) -> EngineCall:
    """The events from a second on, and then as they happen.

    Podman sends its headers with the first event, so their absence is no reason to give up.
    """
    since = "" if since_s is None else f"since={since_s}&"
    return EngineCall(target=f"/events?{since}{FILTERS}", timeout_s=6 * 3600.0)


def cli_line(found: Capabilities, since_s: int) -> CommandLine | None:
    """The same from the command line tool; None where there is none."""
    engine = engine_of(found)
    if engine not in found.tools:
        return None
    form = "json" if engine == "podman" else "'{{json .}}'"
    text = f"{engine} events --format {form} --since {since_s:d} --filter type=container"
    return CommandLine(text=text, needs=engine, sudo=needs_sudo(found))


def parse_event(line: bytes) -> EngineEvent | None:
    """The event of one line; None for what is no container's. Raises `ParseError`."""
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"A container engine sent an event that is no JSON: {line[:80]!r}.") from error
    if not isinstance(raw, dict) or raw.get("Type") != "container":
        return None
    actor = raw.get("Actor")
    if isinstance(actor, dict):
        return _event(raw, actor.get("ID"), raw.get("Action"), actor.get("Attributes"))
    return _event(raw, raw.get("ID"), raw.get("Status"), raw.get("Attributes"))


def _event(raw: Mapping[str, Any], container_id: Any, action: Any, attributes: Any) -> EngineEvent:
    labels = attributes if isinstance(attributes, dict) else {}
    if not isinstance(container_id, str) or not isinstance(action, str):
        raise ParseError("A container engine sent an event without id or action.")
    word, _, rest = action.partition(":")
    word = _PODMAN_WORDS.get(word, word)
    health = raw.get("HealthStatus") or raw.get("health_status") or rest.strip()
    exit_code = labels.get("exitCode", labels.get("containerExitCode", raw.get("ContainerExitCode")))
    if exit_code is None and "Status" in raw:
        exit_code = 0  # Podman's command line tool leaves a zero out
    return EngineEvent(
        container_id=clean(container_id, 64),
        action=clean(word, 40),
        time_ns=_time(raw),
        name=_text(labels.get("name") or raw.get("Name")) or clean(container_id, 12),
        image=_text(labels.get("image") or raw.get("Image")),
        stack=_text(labels.get(STACK)),
        exit_code=_number(exit_code) if word == "die" else None,
        signal=_text(labels.get("signal")) if word == "kill" else None,
        health=_text(health) if word == HEALTH else None,
        old_name=(_text(labels.get("oldName")) or "").removeprefix("/") or None,
    )


def _time(raw: Mapping[str, Any]) -> int:
    nanoseconds, seconds, text = raw.get("timeNano"), raw.get("time"), raw.get("Time")
    if isinstance(nanoseconds, int):
        found = nanoseconds
    elif isinstance(seconds, int):
        found = seconds * _SECOND
    elif isinstance(text, str):
        found = _nanoseconds(text)
    else:
        found = -1
    if not 0 <= found <= _LAST_SECOND * _SECOND:
        raise ParseError("A container engine sent an event without a time.")
    return found


def _nanoseconds(text: str) -> int:
    """`2026-11-21T13:11:08.963525774Z` to the nanosecond, which datetime does not keep."""
    try:
        whole = datetime.fromisoformat(text)
    except ValueError:
        return -1
    if whole.tzinfo is None:
        return -1
    fraction = text.partition(".")[2]
    digits = fraction[: len(fraction) - len(fraction.lstrip("0123456789"))]
    return int(whole.replace(microsecond=0).timestamp()) * _SECOND + int(digits[:9].ljust(9, "0") or 0)


def _text(value: Any) -> str | None:
    return clean(value, LONGEST) if isinstance(value, str) and value else None


def _number(value: Any) -> int | None:
    try:
        number = int(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < 2**31 else None
