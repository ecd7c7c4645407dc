"""Numbers, times and durations as the ZFS programs print them.

`zpool status` prints sizes with three digits whatever it is asked, so an exact size is rounded the same way: the same
pool gives the same answer, in text and in JSON.
"""

import re
from datetime import UTC, datetime, timedelta

_UNITS = "BKMGTPEZ"
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([BKMGTPEZ]?)")
_DURATION = re.compile(r"(?:([0-9]+) days? )?([0-9]+):([0-9]{2}):([0-9]{2})")
_OLD_DURATION = re.compile(r"([0-9]+)h([0-9]+)m")
_WIDTH = 5
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_TIME = re.compile(r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) +([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([0-9]{4})")
_LATEST = 253402300799  # the end of the year 9999
_LONGEST_NUMBER = 20


def size(text: str) -> int | None:
    """`36.2M` → 37958451; None for what is no size. Numbers of errors have the same form."""
    match = _SIZE.fullmatch(text)
    if match is None or len(match[1]) > _LONGEST_NUMBER:
        return None
    if match[2] in {"", "B"}:
        return int(float(match[1])) if "." in match[1] else int(match[1])
    return round(float(match[1]) * (1 << 10 * _UNITS.index(match[2])))


def rounded(value: int) -> int:
    """What is left of a size once it was printed."""
    return size(_printed(value)) or 0


def _printed(value: int) -> str:
    index, rest = 0, value
    while rest >= 1024 and index < len(_UNITS) - 1:  # noqa: PLR2004
        rest //= 1024
        index += 1
    if index == 0 or value % 1024**index == 0:
        return f"{rest}{_UNITS[index]}"
    scaled = value / 1024**index
    texts = [f"{scaled:.{digits}f}{_UNITS[index]}" for digits in (2, 1, 0)]
    return next((text for text in texts if len(text) <= _WIDTH), texts[-1])


def seconds(text: str) -> int | None:
    """`2 days 01:02:03`, `00:00:05` or `0h12m` in seconds."""
    if match := _DURATION.fullmatch(text):
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if match := _OLD_DURATION.fullmatch(text):
        return (int(match[1]) * 60 + int(match[2])) * 60
    return None


def time(text: str) -> datetime | None:
    """`Fri Nov 20 15:07:04 2026`, said in UTC."""
    match = _TIME.fullmatch(text.strip())
    if match is None or match[1] not in _MONTHS:
        return None
    day, hour, minute, second, year = (int(part) for part in match.groups()[1:])
    try:
        return datetime(year, _MONTHS.index(match[1]) + 1, day, hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:
        return None


def moment(value: object) -> datetime | None:
    """Seconds since 1970; ZFS says 0 for never."""
    if not isinstance(value, int) or not 0 < value <= _LATEST:
        return None
    return datetime.fromtimestamp(value, UTC)


def before(end: datetime | None, duration: int | None) -> datetime | None:
    """When something began that ended then and took so many seconds."""
    if end is None or duration is None:
        return None
    try:
        return end - timedelta(seconds=duration)
    except OverflowError:
        return None
