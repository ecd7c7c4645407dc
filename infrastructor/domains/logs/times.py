"""Times of lines in microseconds, and the cursor that leads to older lines. Pure."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def micros(time: datetime | None) -> int:
    """Microseconds since 1970; 0 for a line without a time, which is thereby the oldest."""
    return 0 if time is None else (time - EPOCH) // timedelta(microseconds=1)


def from_micros(value: int) -> datetime | None:
    """The moment; None for one no calendar has."""
    try:
        return EPOCH + timedelta(microseconds=value)
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
