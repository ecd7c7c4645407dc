"""Times as callers write them: `2h` or `1d12h` ago, or a date and time."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import Field, StringConstraints

from infrastructor.errors import ValidationFailed
from infrastructor.operation import PLAIN

_SPAN = re.compile(r"([0-9]{1,6})\s?([smhdw])")
_AGO = re.compile(rf"(?:{_SPAN.pattern}\s?)+")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

When = Annotated[str, StringConstraints(max_length=40), Field(description="2h ago, or ISO 8601.")]
Until = Annotated[
    str, StringConstraints(max_length=40), Field(description="The same as since.", json_schema_extra=PLAIN)
]
Span = Annotated[
    str, StringConstraints(pattern=r"^[0-9]{1,6}(s|m|h|d|w)$"), Field(description="e.g. 5m.", json_schema_extra=PLAIN)
]


def moment(text: str, now: datetime, name: str = "since") -> datetime:
    """The time meant, in UTC; without a zone it is UTC. Raises `ValidationFailed`."""
    wanted = text.strip()
    try:
        if wanted == "now":
            return now
        if _AGO.fullmatch(wanted):
            return now - sum((timedelta(**{_UNITS[unit]: int(n)}) for n, unit in _SPAN.findall(wanted)), timedelta())
        found = datetime.fromisoformat(wanted)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValidationFailed(
            f"{name} is no time: {text!r}.", hint="Write 30m, 2h or 7d for so long ago, or 2026-11-21T10:00Z."
        ) from None


def span(text: str) -> timedelta:
    """`5m` as a timedelta."""
    return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})
