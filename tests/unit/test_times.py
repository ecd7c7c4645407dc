"""Times as callers write them."""

from datetime import UTC, datetime, timedelta

import pytest

from infrastructor.errors import ValidationFailed
from infrastructor.times import moment, span

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", NOW - timedelta(hours=2)),
        (" 7d ", NOW - timedelta(days=7)),
        ("0s", NOW),
        ("now", NOW),
        ("1d12h", NOW - timedelta(hours=36)),
        ("1d 12h", NOW - timedelta(hours=36)),
        ("2026-11-21T10:00Z", datetime(2026, 11, 21, 10, tzinfo=UTC)),
        ("2026-11-21T10:00+02:00", datetime(2026, 11, 21, 8, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=UTC)),
    ],
)
def test_a_time_is_understood(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2h ago", "2 hours", "-2h", "$(reboot)", "2026-13-01", "999999w", "999999w999999w"),
        *("0001-01-01T00:00+14:00", "9999-12-31T23:59-12:00", "9" * 30),
    ],
)
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValidationFailed, match="since is no time"):
        moment(text, NOW)


def test_a_span() -> None:
    assert span("5m") == timedelta(minutes=5)
    assert span("1w") == timedelta(days=7)
