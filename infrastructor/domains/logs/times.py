"""Times as callers write them, and the cursor that leads to older lines. Pure."""

import re
from datetime import UTC, datetime, timedelta

from infrastructor.errors import ValidationFailed

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_RELATIVE = re.compile(r"^(?:\d{1,6}[smhdw])+$")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(text: str, now: datetime) -> datetime:
    """`2h`, `1d12h` ago, or an ISO time (UTC where it names no zone). Raises `ValidationFailed`."""
    wanted = text.strip()
    if wanted == "now":
        return now
    if _RELATIVE.match(wanted):
        seconds = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhdw])", wanted))
        return max(_EPOCH, now - timedelta(seconds=min(seconds, 50 * 365 * 86400)))
    try:
        time = datetime.fromisoformat(wanted)
    except ValueError:
        raise ValidationFailed(
            f"Not a time: {wanted[:40]!r}.", hint="Use 30m, 2h, 7d, or an ISO time such as 2026-11-21T08:00:00Z."
        ) from None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return time.astimezone(UTC)


def micros(time: datetime | None) -> int:
    """Microseconds since 1970; 0 for a line without a time, which is thereby the oldest."""
    return 0 if time is None else (time - _EPOCH) // timedelta(microseconds=1)


def from_micros(value: int) -> datetime | None:
    """The moment; None for one no calendar has."""
    try:
        return _EPOCH + timedelta(microseconds=value)
    except OverflowError:
        return None


def seconds(time: datetime | None) -> str | None:
    """Seconds since 1970 with six places, as journalctl, docker and awk read them."""
    return None if time is None else f"{micros(time) // 1_000_000}.{micros(time) % 1_000_000:06d}"


def read_cursor(cursor: str | None) -> tuple[int | None, int]:
    """(newest microsecond wanted, lines of exactly that microsecond already shown)."""
    if cursor is None:
        return None, 0
    moment, _, shown = cursor.partition("-")
    return int(moment), int(shown)
