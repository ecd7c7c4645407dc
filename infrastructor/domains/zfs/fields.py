"""Values of the columns that zfs prints with -p."""

import re
from datetime import datetime

from infrastructor.domains.zfs.printed import moment

_NUMBER = re.compile(r"[0-9]{1,20}")


def number(text: str) -> int | None:
    """`-` and whatever else is no number is None."""
    return int(text) if _NUMBER.fullmatch(text) else None


def when(text: str) -> datetime | None:
    """Seconds since 1970, said in UTC."""
    return moment(number(text))
